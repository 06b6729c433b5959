"""The whole daemon with a worker that only pretends: from a dropped file to its outcome."""

import json
import sqlite3

import pytest

from daemon.client import Client
from tests.health import publish
from tests.support import eventually, rows, write_jsonl
from trainer.data.checks.file_check import check_file
from trainer.protocol.files import write_json
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.manifest import Progress


def test_a_dropped_file_is_trained_and_put_away(rig):
    rig.start()

    rig.drop("a.jsonl", 3)

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until(lambda: rig.status()["queue"]["recently_completed"] == 1, "the count")
    shown = rig.until_status("idle")
    assert list(rig.layout.inbox.glob("*.jsonl")) == []
    assert shown["current_file"] is None
    [job] = rig.read("SELECT * FROM jobs")
    assert (job["state"], job["rows_trained"], job["steps"], job["attempts"]) == ("completed", 3, 3, 0)
    assert [row["verdict"] for row in rig.read("SELECT * FROM attempts")] == ["completed"]


def test_files_that_lay_there_before_the_start_are_trained(rig):
    rig.drop("a.jsonl")
    rig.drop("b.jsonl", folder="queue/high")
    write_jsonl(rig.layout.processing / "c.jsonl", rows(1))

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl", "c.jsonl")


def test_before_a_worker_runs_the_status_says_what_the_newest_checkpoint_says(rig):
    publish(rig.layout, 1, progress=Progress(global_step=554, tokens_seen=9000, validation_loss=1.5))
    write_json(rig.layout.pause_file, {"reason": "lunch"}, durable=False)

    rig.start()

    shown = rig.until_status("paused", status_reason="lunch")
    assert (shown["current_step"], shown["tokens_seen"], shown["validation_loss"]) == (554, 9000, 1.5)
    assert (shown["model_name"], shown["method"]) == ("tiny", "full")
    assert shown["last_checkpoint"]["path"] == "checkpoints/step-000000554-1"


def test_the_last_error_goes_when_a_file_completes(rig):
    rig.launcher.environment = {"FAKE_BAD": "bad.jsonl"}
    rig.start()
    rig.drop("bad.jsonl")
    rig.until_in(Outcome.FAILED, "bad.jsonl")
    rig.until(lambda: rig.status()["last_error"])

    rig.drop("good.jsonl")

    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    rig.until(lambda: rig.status()["last_error"] is None)


def test_the_model_is_loaded_once_for_many_files(rig):
    rig.start()

    for number in range(5):
        rig.drop(f"{number}.jsonl")

    rig.until_in(Outcome.COMPLETED, *(f"{number}.jsonl" for number in range(5)))
    assert len(rig.launcher.launched) == 1


def test_urgent_files_overtake_the_waiting_ones(rig):
    rig.configure(daemon={"preempt": False})
    rig.launcher.environment = {"FAKE_HOLD": "first.jsonl:1"}
    rig.start()
    rig.drop("first.jsonl")
    rig.until_training("first.jsonl")
    rig.drop("low.jsonl", folder="inbox/low")
    rig.drop("normal.jsonl")
    rig.drop("high.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 4)

    rig.go()

    rig.until_in(Outcome.COMPLETED, "first.jsonl", "low.jsonl", "normal.jsonl", "high.jsonl")
    trained = [message.split()[1].rstrip(":") for message in rig.events("trained")]
    assert trained == ["first.jsonl", "high.jsonl", "normal.jsonl", "low.jsonl"]


def test_a_waiting_file_moved_by_hand_overtakes(rig):
    rig.configure(daemon={"preempt": False})
    rig.launcher.environment = {"FAKE_HOLD": "first.jsonl:1"}
    rig.start()
    rig.drop("first.jsonl")
    rig.until_training("first.jsonl")
    rig.drop("a.jsonl")
    rig.drop("b.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 3)

    (rig.layout.waiting(Priority.NORMAL) / "b.jsonl").rename(rig.layout.waiting(Priority.HIGH) / "b.jsonl")
    rig.until(lambda: rig.read("SELECT * FROM jobs WHERE priority='high'"))
    rig.go()

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    trained = [message.split()[1].rstrip(":") for message in rig.events("trained")]
    assert trained == ["first.jsonl", "b.jsonl", "a.jsonl"]


def test_a_file_removed_while_it_is_trained_harms_no_other(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
    rig.start()
    rig.drop("a.jsonl")
    rig.until_training("a.jsonl")

    (rig.layout.processing / "a.jsonl").unlink()
    rig.until(lambda: rig.events("removed"))
    rig.drop("b.jsonl")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert rig.status()["last_error"] is None


def test_files_from_a_folder_that_sets_no_priority_are_trained_and_the_folder_is_named_once(rig):
    (rig.layout.inbox / "hihg").mkdir()
    rig.start()

    for name in ("a.jsonl", "b.jsonl"):
        rig.drop(name, folder="inbox/hihg")
        rig.until_in(Outcome.COMPLETED, name)

    assert rig.events("no_priority") == [
        "inbox/hihg/ sets no priority, so files from there have priority normal; expected inbox/high/, "
        "inbox/normal/ or inbox/low/ where one is meant"
    ]
    assert [row["priority"] for row in rig.read("SELECT priority FROM jobs")] == ["normal", "normal"]


def test_a_file_whose_name_is_taken_in_the_queue_is_accepted_by_both_names(rig):
    rig.drop("a.jsonl", folder="inbox")
    rig.drop("a.jsonl", folder="inbox/normal")

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "a-2.jsonl")
    assert sorted(rig.events("accepted")) == [
        "accepted a.jsonl (3 rows, normal)",
        "accepted a.jsonl, queued as a-2.jsonl (3 rows, normal)",
    ]


def test_a_file_that_was_refused_is_not_shown_as_the_current_one_any_more(rig):
    rig.start()
    write_jsonl(rig.layout.inbox / "bad.jsonl", ["no json"])
    rig.until_in(Outcome.FAILED, "bad.jsonl")

    rig.until_status("idle", current_file=None)


def test_a_bad_file_fails_with_its_reason_and_the_next_is_trained(rig):
    rig.start()

    write_jsonl(rig.layout.inbox / "bad.jsonl", ["no json"])
    rig.drop("good.jsonl")

    rig.until_in(Outcome.FAILED, "bad.jsonl", "bad.jsonl.reason.json", "bad.jsonl.rejected.jsonl")
    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    reason = json.loads((rig.layout.failed / "bad.jsonl.reason.json").read_text())
    assert reason["kind"] == "bad_data"
    assert "line 1" in reason["message"]


def test_a_file_that_is_refused_again_gets_a_list_of_its_own_and_the_earlier_one_is_in_the_trash(rig):
    rig.start()
    write_jsonl(rig.layout.inbox / "bad.jsonl", ["no json"])
    rig.until_in(Outcome.FAILED, "bad.jsonl.reason.json")
    listed = rig.layout.failed / "bad.jsonl.rejected.jsonl"
    earlier = listed.stat().st_ino

    Client(rig.layout.base).queue.retry("bad.jsonl")

    rig.until(lambda: len(rig.events("failed")) == 2, "the second refusal")
    rig.until_in(Outcome.FAILED, "bad.jsonl.reason.json", listed.name)
    [in_trash] = rig.layout.trash.glob(f"*/{listed.name}")
    assert in_trash.stat().st_ino == earlier
    assert sorted(path.name for path in rig.layout.failed.iterdir()) == [
        "bad.jsonl", "bad.jsonl.reason.json", "bad.jsonl.rejected.jsonl"
    ]  # fmt: skip


def test_a_file_the_worker_calls_bad_fails_at_once(rig):
    rig.launcher.environment = {"FAKE_BAD": "bad.jsonl"}
    rig.start()

    rig.drop("bad.jsonl")
    rig.drop("good.jsonl")

    rig.until_in(Outcome.FAILED, "bad.jsonl", "bad.jsonl.reason.json")
    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    reason = json.loads((rig.layout.failed / "bad.jsonl.reason.json").read_text())
    assert (reason["kind"], reason["message"]) == ("bad_data", "line 1 cannot be rendered")


def test_files_that_are_not_accepted_are_told_once_and_when_they_have_gone(rig):
    (rig.layout.inbox / "notes.txt").touch()
    rig.start()
    shown = rig.until(lambda: rig.status()["alerts"], "the alert")

    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    (rig.layout.inbox / "notes.txt").unlink()

    rig.until(lambda: rig.events("no_files_ignored"), "the end")
    assert shown == rig.events("files_ignored")
    assert shown[0].startswith("inbox/: notes.txt not accepted; expected readable files that end in .jsonl")
    rig.until(lambda: rig.status()["alerts"] == [], "no alert")


def test_each_file_that_can_be_told_gets_a_sentence_of_its_own_until_it_is_gone(rig):
    names = [f"table-{number}.csv" for number in range(6)]
    for name in names:
        (rig.layout.inbox / name).write_text("prompt,completion\na,b\nc,d\n")
    rig.start()

    def commands():
        return [
            alert for alert in rig.status()["alerts"] if "convert and add it: training_queue add /" in alert
        ]

    rig.until(lambda: len(commands()) == len(names), "a sentence each")
    assert len(rig.status()["alerts"]) == len(names)
    for name in names:
        (rig.layout.inbox / name).unlink()

    rig.until(lambda: rig.status()["alerts"] == [], "no alert")
    assert rig.events("files_ignored") == []
    assert len(rig.events("file_not_accepted")) == len(rig.events("unaccepted_file_gone")) == len(names)


def test_a_check_that_breaks_is_told_with_its_traceback_and_the_next_file_is_trained(
    rig, monkeypatch, caplog
):
    def breaks_at_a(path, **limits):
        if path.name == "a.jsonl":
            raise ZeroDivisionError("a bug")
        return check_file(path, **limits)

    monkeypatch.setattr("daemon.intake.checker.check_file", breaks_at_a)
    rig.start()

    rig.drop("a.jsonl")
    rig.drop("b.jsonl")

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    rig.until_in(Outcome.FAILED, "a.jsonl")
    assert rig.events("check_failed") == ["the check of a.jsonl failed"]
    assert "a.jsonl: its check failed: ZeroDivisionError: a bug" in rig.events("failed")
    assert "in breaks_at_a" in caplog.text


def test_nothing_odd_in_inbox_or_queue_stops_the_daemon(rig, tmp_path):
    outside = write_jsonl(tmp_path / "outside.jsonl", rows(1))
    rig.start()

    (rig.layout.inbox / "folder.jsonl").mkdir()
    (rig.layout.waiting(Priority.HIGH) / "folder.jsonl").mkdir()
    (rig.layout.inbox / "link.jsonl").symlink_to(outside)
    (rig.layout.inbox / "empty.jsonl").touch()
    (rig.layout.inbox / "notes.txt").write_text("not for training")
    rig.drop("good.jsonl")

    rig.until_in(Outcome.COMPLETED, "good.jsonl")
    rig.until_in(Outcome.FAILED, "link.jsonl.reason.json", "empty.jsonl.reason.json")
    assert outside.exists()
    rig.until(lambda: any("notes.txt" in alert for alert in rig.status()["alerts"]), "the alert")


def test_a_model_setting_that_changes_restarts_the_worker_between_two_files(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    rig.configure(training={"precision": "fp32"})

    rig.until(lambda: rig.events("worker_left"))
    rig.drop("b.jsonl")
    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert len(rig.launcher.launched) == 2


def test_a_training_setting_that_changes_reaches_the_next_file_and_no_earlier_one(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:1"}
    rig.start()
    rig.drop("a.jsonl", 1)
    rig.until_training("a.jsonl")

    rig.configure(training={"learning_rate": 0.5})
    rig.go()
    rig.drop("b.jsonl", 1)

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    assert [row["learning_rate"] for row in rig.read("SELECT * FROM steps ORDER BY global_step")] == [
        2.5e-3,
        0.5,
    ]
    assert len(rig.launcher.launched) == 1


def test_the_alert_about_an_invalid_config_ends_with_the_daemon_that_refused_it(rig):
    rig.start()
    rig.configure(training={"epochs": 0})
    rig.until(lambda: rig.status()["alerts"])

    rig.stop()

    assert rig.status()["alerts"] == []


def test_an_invalid_config_keeps_the_old_settings_and_says_so_until_it_is_corrected(rig):
    rig.start()

    rig.layout.config_file.write_text('{"training": {"learning_rate": 2}}')
    rig.until(lambda: any("learning_rate is 2" in alert for alert in rig.status()["alerts"]), "the alert")
    rig.drop("a.jsonl", 1)
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    learning_rates = [row["learning_rate"] for row in rig.read("SELECT * FROM steps")]
    rig.configure()

    rig.until(lambda: not rig.status()["alerts"], "the end of the alert")
    assert learning_rates == [2.5e-3]


def test_the_ledger_can_be_read_while_a_file_is_trained(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:3"}
    rig.start()
    rig.drop("a.jsonl", 3)
    rig.until_training("a.jsonl")

    seen = rig.until(lambda: rig.read("SELECT * FROM steps"), "steps in the ledger")

    assert [row["file_step"] for row in seen][:1] == [1]


# ---- training_daemon --once


def test_once_trains_everything_and_leaves_with_zero(rig):
    rig.drop("a.jsonl")
    rig.drop("b.jsonl")

    rig.start(drain=True)

    assert rig.left() == 0
    assert sorted(path.name for path in rig.layout.finished(Outcome.COMPLETED).iterdir()) == [
        "a.jsonl",
        "b.jsonl",
    ]
    assert rig.status()["status"] == "stopped"


def test_once_with_nothing_to_do_leaves_at_once(rig):
    rig.start(drain=True)

    assert rig.left() == 0
    assert rig.launcher.launched == []


@pytest.mark.parametrize("blame", ["intake", "worker", "crash"])
def test_once_leaves_with_one_if_a_file_failed(rig, blame):
    if blame == "intake":
        write_jsonl(rig.layout.inbox / "bad.jsonl", ["no json"])
    else:
        rig.drop("bad.jsonl")
        rig.launcher.environment = {
            "worker": {"FAKE_BAD": "bad.jsonl"},
            "crash": {"FAKE_CRASH": "bad.jsonl:1"},
        }[blame]
    rig.drop("good.jsonl")

    rig.start(drain=True)

    assert rig.left() == 1
    assert (rig.layout.failed / "bad.jsonl").exists()
    assert (rig.layout.finished(Outcome.COMPLETED) / "good.jsonl").exists()


def test_once_leaves_with_one_if_nothing_can_be_trained(rig):
    rig.drop("a.jsonl")
    rig.launcher.environment = {"FAKE_FAULT": "environment"}

    rig.start(drain=True)

    assert rig.left() == 1
    assert (rig.layout.processing / "a.jsonl").exists() or (
        rig.layout.waiting(Priority.NORMAL) / "a.jsonl"
    ).exists()
    assert rig.status()["status_reason"] == "no space left"


def test_a_second_daemon_is_refused(rig):
    from daemon.app import AlreadyRunning, run_daemon

    rig.start()

    with pytest.raises(AlreadyRunning, match="already running here"):
        run_daemon(rig.layout.base, launcher=rig.launcher)


def test_the_ledger_is_whole_after_the_daemon_has_left(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    rig.stop()

    database = sqlite3.connect(rig.layout.ledger_file)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert eventually(lambda: rig.events("daemon_stopped"))
