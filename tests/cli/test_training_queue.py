"""The command training_queue, run as a person runs it, without a daemon."""

import json
import os

import pytest
from typer.testing import CliRunner

from daemon.cli.training_queue import ROWS_SHOWN, app
from daemon.ledger import Ledger
from daemon.sight import identity_of
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.job import Priority
from trainer.protocol.layout import Layout


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout


def run(layout, *arguments):
    return CliRunner().invoke(app, [*arguments, "--base-dir", str(layout.base)])


def test_add_copies_and_leaves_the_users_file_alone(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))

    result = run(layout, "add", str(file), "--priority", "high")

    copy = layout.inbox / "high" / "chat.jsonl"
    assert result.exit_code == 0
    assert copy.read_bytes() == file.read_bytes()
    assert copy.stat().st_ino != file.stat().st_ino


def test_add_never_overwrites_a_file_of_the_same_name(layout, tmp_path):
    (layout.inbox / "normal" / "chat.jsonl").write_text("first")
    file = write_jsonl(tmp_path / "chat.jsonl", rows(1))

    result = run(layout, "add", str(file), "--json")

    assert (layout.inbox / "normal" / "chat.jsonl").read_text() == "first"
    assert json.loads(result.stdout)[0]["added_as"] == "chat-2.jsonl"


@pytest.mark.parametrize("name", ["notes.txt", ".hidden.jsonl", "chat.jsonl.part"])
def test_add_refuses_names_that_would_never_be_taken_and_adds_nothing(layout, tmp_path, name):
    good = write_jsonl(tmp_path / "good.jsonl", rows(1))
    bad = write_jsonl(tmp_path / name, rows(1))

    result = run(layout, "add", str(good), str(bad))

    assert result.exit_code != 0
    assert "expected a name that ends in .jsonl" in str(result.exception)
    assert not list(layout.inbox.rglob("*.jsonl"))


def test_add_follows_a_link_that_the_user_names(layout, tmp_path):
    file = write_jsonl(tmp_path / "real.jsonl", rows(1))
    (tmp_path / "link.jsonl").symlink_to(file)

    run(layout, "add", str(tmp_path / "link.jsonl"))

    copy = layout.inbox / "normal" / "link.jsonl"
    assert not copy.is_symlink()
    assert copy.read_bytes() == file.read_bytes()


def test_list_shows_files_in_training_order(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, (name, priority) in enumerate(
        [("late.jsonl", Priority.LOW), ("b.jsonl", Priority.HIGH), ("a.jsonl", Priority.HIGH)]
    ):
        path = write_jsonl(layout.waiting(priority) / name, rows(2))
        job = job_for(path, id=f"20260101-000000-00000{number}", priority=priority)
        ledger.add_job(job, identity_of(path.stat()), "waiting")
    ledger.close()
    write_jsonl(layout.waiting(Priority.HIGH) / "unchecked.jsonl", rows(1))

    result = run(layout, "list", "--json")

    assert [(file["name"], file["state"]) for file in json.loads(result.stdout)] == [
        ("b.jsonl", "waiting"),
        ("a.jsonl", "waiting"),
        ("unchecked.jsonl", "checking"),
        ("late.jsonl", "waiting"),
    ]


def test_list_is_short_unless_all_is_wanted(layout):
    for number in range(ROWS_SHOWN + 3):
        (layout.waiting(Priority.LOW) / f"{number:03}.jsonl").write_text("{}\n")

    short, whole = run(layout, "list"), run(layout, "list", "--all")

    assert "and 3 more" in short.stdout
    assert short.stdout.count(".jsonl") == ROWS_SHOWN
    assert whole.stdout.count(".jsonl") == ROWS_SHOWN + 3


def test_names_cannot_talk_to_the_terminal(layout):
    (layout.waiting(Priority.LOW) / "\x1b]0;owned\x07[red].jsonl").write_text("{}\n")
    os.close(os.open(os.fsencode(layout.waiting(Priority.LOW)) + b"/\xff\n.jsonl", os.O_CREAT))

    result = run(layout, "list")

    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\\x1b]0;owned\\x07[red].jsonl" in result.stdout
    assert "\\xff\\n.jsonl" in result.stdout


def test_status_counts_every_folder(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))
    write_jsonl(layout.failed / "b.jsonl", rows(1))
    (layout.failed / "b.jsonl.reason.json").write_text("{}")

    result = run(layout, "status", "--json")

    assert json.loads(result.stdout) == {
        "high": 0, "normal": 0, "low": 1, "processing": 0, "recently_completed": 0, "failed": 1, "skipped": 0
    }  # fmt: skip


def test_set_priority_moves_the_file(layout):
    write_jsonl(layout.waiting(Priority.LOW) / "a.jsonl", rows(1))

    result = run(layout, "set-priority", "a.jsonl", "high")

    assert result.exit_code == 0
    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()
    assert not (layout.waiting(Priority.LOW) / "a.jsonl").exists()


def test_a_file_in_training_cannot_be_moved_and_the_message_says_what_to_do(layout):
    write_jsonl(layout.processing / "a.jsonl", rows(1))

    result = run(layout, "remove", "a.jsonl")

    assert "training_controller skip" in str(result.exception)
    assert (layout.processing / "a.jsonl").exists()


def test_remove_keeps_the_file_and_says_why_it_lies_there(layout):
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))

    run(layout, "remove", "a.jsonl")

    skipped = layout.queue / "skipped"
    assert (skipped / "a.jsonl").exists()
    assert json.loads((skipped / "a.jsonl.reason.json").read_text())["kind"] == "request"


def test_retry_puts_a_file_back_where_it_came_from(layout):
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))
    run(layout, "remove", "a.jsonl")

    run(layout, "retry", "a.jsonl")

    assert (layout.waiting(Priority.HIGH) / "a.jsonl").exists()
    assert not (layout.queue / "skipped" / "a.jsonl.reason.json").exists()


def test_retry_failed_takes_every_failed_file_and_no_notes(layout):
    for name in ("a.jsonl", "b.jsonl", "b.jsonl.rejected.jsonl", "b.jsonl.reason.json"):
        (layout.failed / name).write_text("{}\n")

    run(layout, "retry", "--failed")

    assert sorted(path.name for path in layout.waiting(Priority.NORMAL).iterdir()) == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "a.jsonl", "--failed"]])
def test_retry_wants_either_a_name_or_all(layout, arguments):
    result = run(layout, *arguments)

    assert "either a NAME or --failed" in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [["remove", "nope.jsonl"], ["set-priority", "nope.jsonl", "high"], ["retry", "nope.jsonl"]]
)
def test_an_unknown_name_is_named_in_the_error(layout, arguments):
    result = run(layout, *arguments)

    assert result.exit_code != 0
    assert "nope.jsonl" in str(result.exception)


def test_a_folder_that_is_no_working_directory_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["list", "--base-dir", str(tmp_path)])

    assert "is not a working directory" in str(result.exception)
    assert not list(tmp_path.iterdir())
