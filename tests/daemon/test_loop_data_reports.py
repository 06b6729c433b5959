"""What the whole daemon makes of a worker's reports on the rows of files."""

import json

from typer.testing import CliRunner

from daemon.cli.training_queue import app
from daemon.files.notes import report_file
from trainer.protocol.job import Outcome


def report_on(rig, name):
    [newest] = rig.read("SELECT max(id) AS id FROM jobs WHERE display = ?", name)
    return json.loads(report_file(rig.layout, newest["id"]).read_text())


def test_a_warning_is_told_in_one_line_and_the_file_is_trained(rig):
    rig.launcher.environment = {"FAKE_REPORT": "a.jsonl:warning", "FAKE_HOLD": "a.jsonl:1"}
    rig.start()

    rig.drop("a.jsonl")

    rig.until_status("training", alerts=["a.jsonl: 3 of 3 rows are odd"])
    rig.go()
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until_status("idle", alerts=[])
    assert rig.events("data_report") == ["a.jsonl: 3 of 3 rows are odd"]
    assert report_on(rig, "a.jsonl")["findings"][0]["level"] == "warning"


def test_a_blocked_file_fails_with_the_figures_and_the_next_is_trained(rig):
    rig.launcher.environment = {"FAKE_REPORT": "a.jsonl:block"}
    rig.start()

    rig.drop("a.jsonl")
    rig.drop("b.jsonl")

    rig.until_in(Outcome.FAILED, "a.jsonl", "a.jsonl.reason.json")
    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    reason = json.loads((rig.layout.failed / "a.jsonl.reason.json").read_text())
    assert reason["kind"] == "bad_data"
    assert reason["message"].endswith("training_queue retry a.jsonl --admit")
    assert rig.read("SELECT DISTINCT display FROM steps JOIN jobs ON id=job_id")[0]["display"] == "b.jsonl"


def test_an_admitted_file_is_trained_also_by_a_worker_that_begins_again(rig):
    rig.launcher.environment = {"FAKE_REPORT": "a.jsonl:block"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.FAILED, "a.jsonl", "a.jsonl.reason.json")
    rig.launcher.once = {"FAKE_CRASH": "a.jsonl:1"}
    rig.stop()
    rig.start()

    result = CliRunner().invoke(
        app, ["retry", "a.jsonl", "--admit", "--base-dir", str(rig.layout.base)], catch_exceptions=False
    )

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert len(rig.events("worker_crashed")) == 1
    assert result.exit_code == 0
    assert report_on(rig, "a.jsonl")["is_admitted"]
    assert rig.events("data_report")[-1] == "a.jsonl: admitted although 3 of 3 rows are odd"


def test_a_file_that_is_retried_without_being_admitted_fails_again(rig):
    rig.launcher.environment = {"FAKE_REPORT": "a.jsonl:block"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.FAILED, "a.jsonl", "a.jsonl.reason.json")

    CliRunner().invoke(app, ["retry", "a.jsonl", "--base-dir", str(rig.layout.base)], catch_exceptions=False)

    rig.until(lambda: len(rig.events("data_report")) == 2, "another report")
    rig.until_in(Outcome.FAILED, "a.jsonl", "a.jsonl.reason.json")


def test_a_report_that_cannot_be_written_is_written_when_it_can(rig):
    rig.layout.data_reports.write_text("in the way")
    rig.launcher.environment = {"FAKE_REPORT": "a.jsonl:warning"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: rig.events("turn_failed"), "an error")

    rig.layout.data_reports.unlink()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert report_on(rig, "a.jsonl")["rows"] == 3
    assert len(rig.events("data_report")) == 1
