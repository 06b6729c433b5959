"""training_data validate and report, with another process in place of the one that loads transformers."""

import json

import pytest

from daemon.cli.training_data import app
from daemon.files.identity import identity_of
from daemon.jobs.admission import admit
from daemon.status.data_reports import write_report
from tests.daemon.cli.runner import runner_of
from tests.health import publish
from tests.support import job_for, rows, write_jsonl
from trainer.config.loader import load_settings
from trainer.protocol.data_report import DataReport, Finding, TokenLengths
from trainer.protocol.files import file_sha256
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import Refused

run = runner_of(app)
JOB, OTHER = "20260101-000000-000001", "20260101-000000-000002"


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", rows(3))


def report(level="note", *, p99=3000, max_length=2048):
    found = Finding(rule="long", level=level, message="1 of 3 rows does not fit", rows=1, share=0.33)
    return DataReport(
        file="chat.jsonl",
        sha256="ab",
        validation="standard",
        rows=3,
        rejected_rows=0,
        sampled_rows=3,
        max_length=max_length,
        tokens=TokenLengths(min=1, median=5, p95=7, p99=p99, max=9000),
        over_max_length=0.1,
        supervised_share=0.5,
        rows_without_target=0,
        duplicate_rows=0,
        classes={},
        findings=(found,),
    )


def complete(layout, ledger, name, job_id):
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / name, [*rows(3), {"id": job_id}])
    ledger.add_job(job_for(path, id=job_id), identity_of(path.lstat()), "completed")
    ledger.commit()


def length_in(layout):
    return load_settings(layout.config_file, environment={}).settings.data.max_length


# ---- validate


@pytest.mark.parametrize("level, code", [("note", 0), ("warning", 0), ("block", 1)])
def test_validate_ends_with_1_if_the_file_would_not_be_trained(layout, chat, answering, level, code):
    answering.prepare(report(level).model_dump_json())

    result = run(layout, "validate", str(chat))

    assert result.exit_code == code
    assert "1 of 3 rows does not fit" in result.stdout


@pytest.mark.parametrize("content, max_length", [(None, 2048), ('{"data": {"max_length": 512}}', 512)])
def test_validate_needs_no_folder_of_a_daemon(tmp_path, chat, answering, content, max_length):
    layout = Layout(tmp_path)
    if content:
        layout.config_file.write_text(content)
    answering.prepare(report().model_dump_json())

    result = run(layout, "validate", str(chat), "--auto-adjust")

    assert result.exit_code == 0
    assert answering.order["settings"]["data"]["max_length"] == max_length
    assert not any(folder.exists() for folder in layout.folders())


def test_validate_knows_what_is_admitted_already(layout, chat, answering):
    admit(layout, chat)
    known = report("block").model_copy(update={"sha256": file_sha256(chat)})
    answering.prepare(known.model_dump_json())

    result = run(layout, "validate", str(chat))

    assert result.exit_code == 0
    assert result.stdout.endswith("it was admitted, so it is trained despite what is marked x\n")


@pytest.mark.parametrize("is_dropped", [True, False])
def test_validate_says_how_this_file_is_admitted(layout, chat, answering, is_dropped):
    answering.prepare(report("block").model_dump_json())
    if is_dropped:
        chat = chat.rename(layout.failed / chat.name)

    shown = run(layout, "validate", str(chat)).stdout

    assert "training_queue retry chat.jsonl --admit" in shown
    assert ("drop it" in shown) == (not is_dropped)


def test_validate_says_how_a_table_is_admitted(layout, tmp_path, answering):
    answering.prepare(report("block").model_dump_json())
    table = tmp_path / "table.csv"
    table.write_text("prompt,completion\na,b\n")

    shown = run(layout, "validate", str(table)).stdout

    assert shown.endswith(
        "add it with training_queue add, and once it has failed: training_queue retry table.jsonl --admit\n"
    )


def test_validate_asks_for_this_file_by_the_settings_in_force(layout, chat, answering):
    layout.config_file.write_text('{"data": {"max_length": 512}}')
    answering.prepare(report().model_dump_json())

    run(layout, "validate", str(chat), "--deep")

    order = answering.order
    assert answering.module == "trainer.mains.inspect_file"
    assert (order["file"], order["base"], order["deep"]) == (str(chat), str(layout.base), True)
    assert order["settings"]["data"]["max_length"] == 512


def test_a_program_gets_the_report(layout, chat, answering):
    answering.prepare(report().model_dump_json())

    found = json.loads(run(layout, "validate", str(chat), "--json").stdout)

    assert found.pop("max_length_adjusted") is None
    assert DataReport.model_validate(found) == report()


def test_what_keeps_the_process_from_answering_is_the_error(layout, chat, answering):
    refused = Refused(message="model.base_model is gone", fault=FaultKind.BAD_CONFIG)
    answering.prepare(refused.model_dump_json(), words="loading the tokenizer\n", code=78)

    failure = run(layout, "validate", str(chat)).exception

    assert (str(failure), failure.exit_code) == ("model.base_model is gone", 78)


@pytest.mark.parametrize(
    "arguments, reason",
    [(("no.jsonl",), "no.jsonl is not a file"), (("no.jsonl", "--yes"), "--yes is for --auto-adjust")],
)
def test_a_command_that_cannot_be_meant_is_refused(layout, arguments, reason):
    assert reason in str(run(layout, "validate", *arguments).exception)


# ---- auto-adjust


def test_a_length_is_proposed_and_nothing_is_written(layout, chat, answering):
    layout.config_file.write_text("{}")
    answering.prepare(report().model_dump_json())

    result = run(layout, "validate", str(chat), "--auto-adjust")

    assert "data.max_length: 2,048 -> 3,008 is proposed: 99 of 100 rows have at most 3,000" in result.stdout
    assert "add --yes to write it" in result.stdout
    assert layout.config_file.read_text() == "{}"


@pytest.mark.parametrize(
    "model, said",
    [
        (None, "; the model's own limit is not known until it is first loaded"),
        (
            {"max_position_embeddings": 2560},
            ", of which the model accepts 2,560; longer rows remain too long",
        ),
    ],
)
def test_whether_the_model_takes_the_length_is_said(layout, chat, answering, model, said):
    layout.config_file.write_text('{"model": {"base_model": "base"}}')
    if model:
        (layout.models / "base").mkdir()
        (layout.models / "base" / "config.json").write_text(json.dumps(model))
    answering.prepare(report().model_dump_json())

    shown = run(layout, "validate", str(chat), "--auto-adjust").stdout

    assert f"99 of 100 rows have at most 3,000 tokens{said}\n" in shown


@pytest.mark.parametrize("before", [None, "{}", '{"data": {"max_length": 2048}, "training": {"epochs": 2}}'])
def test_with_yes_the_length_is_written_and_nothing_else_changes(layout, chat, answering, before):
    if before is not None:
        layout.config_file.write_text(before)
    answering.prepare(report().model_dump_json())

    result = run(layout, "validate", str(chat), "--auto-adjust", "--yes")

    assert "written to config.json; it takes effect at the next file" in result.stdout
    assert result.exit_code == 0
    assert length_in(layout) == 3008
    content = json.loads(layout.config_file.read_text())
    assert content.get("training") == json.loads(before or "{}").get("training")


def test_a_file_that_fits_needs_no_change(layout, chat, answering):
    answering.prepare(report(p99=2048).model_dump_json())

    result = run(layout, "validate", str(chat), "--auto-adjust", "--yes")

    assert "data.max_length is 2,048, which fits; nothing to change" in result.stdout
    assert not layout.config_file.exists()


def test_a_length_is_not_called_fitting_where_no_row_was_inspected(layout, chat, answering):
    answering.prepare(report("block").model_copy(update={"tokens": None}).model_dump_json())

    shown = run(layout, "validate", str(chat), "--auto-adjust").stdout

    assert shown.endswith("data.max_length is 2,048; no row was inspected, so nothing is proposed\n")


def test_a_length_that_a_checkpoint_locks_is_not_written(layout, chat, answering):
    publish(layout, 1, locked={"data.max_length": 2048})
    answering.prepare(report().model_dump_json())

    result = run(layout, "validate", str(chat), "--auto-adjust", "--yes")

    assert result.exit_code == 1
    assert "not written: data.max_length is locked at 2048 by step-" in result.stdout
    assert (
        "set it to 3008 in config.json and allow it: training_health unlock data.max_length" in result.stdout
    )
    assert not layout.config_file.exists()


def test_a_checkpoint_that_has_the_length_already_does_not_stand_against_it(layout, chat, answering):
    publish(layout, 1, locked={"data.max_length": 3008})
    answering.prepare(report().model_dump_json())

    run(layout, "validate", str(chat), "--auto-adjust", "--yes")

    assert length_in(layout) == 3008


def test_a_length_from_the_environment_is_not_written_over(layout, chat, answering, monkeypatch):
    monkeypatch.setenv("TRAINING__DATA__MAX_LENGTH", "1024")
    answering.prepare(report().model_dump_json())

    facts = json.loads(run(layout, "validate", str(chat), "--auto-adjust", "--yes", "--json").stdout)

    adjusted = facts["max_length_adjusted"]
    assert (adjusted["current"], adjusted["proposed"], adjusted["is_written"]) == (1024, 3008, False)
    assert "comes from the environment, which overrides config.json" in adjusted["obstacle"]
    assert not layout.config_file.exists()


# ---- report


def test_the_report_on_a_file_in_the_queue_is_shown(layout, ledger):
    complete(layout, ledger, "chat.jsonl", JOB)
    write_report(layout, JOB, report("warning"))

    shown = run(layout, "report", "recently_completed/chat.jsonl").stdout
    found = json.loads(run(layout, "report", "chat.jsonl", "--json").stdout)

    assert "! 1 of 3 rows does not fit" in shown
    assert DataReport.model_validate(found) == report("warning")


@pytest.mark.parametrize(
    "name, level, line",
    [
        ("chat.jsonl", "warning", "file              chat.jsonl"),
        (OTHER, "note", f"job               {OTHER}; 1 other job had this name: {JOB}"),
        ("chat-2.jsonl", "note", f"job               {OTHER}; 1 other job had this name: {JOB}"),
    ],
)
def test_each_of_two_files_of_one_name_has_its_report_and_its_job_is_named(layout, ledger, name, level, line):
    complete(layout, ledger, "chat.jsonl", JOB)
    complete(layout, ledger, "chat-2.jsonl", OTHER)
    for job, found in ((JOB, "warning"), (OTHER, "note")):
        write_report(layout, job, report(found).model_copy(update={"job_id": job}))

    shown = run(layout, "report", name).stdout
    found = json.loads(run(layout, "report", name, "--json").stdout)

    assert found["findings"][0]["level"] == level
    assert line in shown


def test_without_a_report_the_way_to_one_is_told(layout, ledger):
    complete(layout, ledger, "chat.jsonl", JOB)

    result = run(layout, "report", "chat.jsonl")

    assert "there is no report on chat.jsonl" in str(result.exception)
    assert "training_data validate FILE" in str(result.exception)


def test_a_folder_that_is_not_there_has_no_settings_to_inspect_with(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", rows(1))

    result = run(Layout(tmp_path / "typo"), "validate", str(file))

    assert result.exit_code == 1
    assert "typo is not a folder; correct TRAINING_BASE_DIR" in str(result.exception)
