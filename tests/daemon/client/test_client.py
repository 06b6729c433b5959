"""The client as a library: light, honest about what is there, and patient as long as asked."""

import json
import os
import subprocess
import sys

import pytest

from daemon.client import Client, advice
from daemon.client.errors import (
    ClientError,
    NoDaemon,
    NoSuchCheckpoint,
    NotATrainingFile,
    NotAWorkingDirectory,
    NotObeyed,
)
from daemon.control.control_files import read_requests
from daemon.control.pause_file import PauseFile
from daemon.status.board import StatusBoard
from tests.health import publish
from tests.support import rows, write_jsonl
from trainer.protocol.layout import Layout
from trainer.protocol.places import Priority
from trainer.protocol.status import State


@pytest.fixture
def board(layout):
    """A daemon that is alive, as far as the status file tells."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    board.set_state(State.TRAINING)
    board.publish()
    return board


def answer(layout, board, result, ledger=None):
    """Obey what lies in the control folder, as a daemon does."""
    for request in read_requests(layout):
        if ledger:
            data = {"name": request.name, "request_id": request.id, "result": result}
            ledger.add_event("command", result, data=data)
            ledger.commit()
        board.command(request.name, request.id, result)
        board.publish()
        request.path.unlink()


def test_importing_it_loads_nothing_that_draws_or_takes_long():
    dear = ("typer", "rich", "torch", "sqlite3", "psutil", "trainer.config.schema", "daemon.cli")
    code = f"import sys, daemon.client; print([m for m in {dear} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_files_are_counted_where_no_daemon_keeps_the_status_up_to_date(layout, board):
    board.set_state(State.STOPPED)
    board.publish()
    for name in ("failed/a.jsonl", "skipped/b.jsonl", "skipped/c.jsonl", "high/d.jsonl"):
        write_jsonl(layout.queue / name, rows(1))

    shown = Client(layout.base).status().fields["queue"]

    assert (shown["failed"], shown["skipped"], shown["high"]) == (1, 2, 1)


def test_a_status_without_a_daemon_needs_no_ledger_and_does_not_load_what_reads_one(layout, board):
    board.set_state(State.STOPPED)
    board.publish()
    write_jsonl(layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))
    layout.ledger_file.write_text("no ledger")
    code = (
        "import sys; from daemon.client import Client; status = Client(sys.argv[1]).status(); "
        "print(status.fields['queue']['high'], 'sqlite3' in sys.modules)"
    )

    result = subprocess.run(
        [sys.executable, "-c", code, str(layout.base)], capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == ["1", "False"]


def test_a_folder_of_the_queue_that_is_gone_counts_as_empty(tmp_path):
    (tmp_path / "queue").mkdir()

    assert set(Client(tmp_path).status().fields["queue"].values()) == {0}


def test_a_folder_that_is_none_of_ours_is_named(tmp_path):
    with pytest.raises(NotAWorkingDirectory, match="is not a working directory"):
        Client(tmp_path).status()


@pytest.mark.parametrize(
    "shells, words",
    [
        (None, "give one with --base-dir, or create one: training_daemon init"),
        (
            "{base}",
            "correct TRAINING_BASE_DIR, give one with --base-dir, or create one: training_daemon init",
        ),
    ],
)
def test_a_folder_that_is_not_there_is_corrected_where_it_was_named(tmp_path, monkeypatch, shells, words):
    base, file = tmp_path / "gone", tmp_path / "a.jsonl"
    file.write_text("")
    monkeypatch.setattr(advice, "SHELLS_BASE_DIR", shells and shells.format(base=base))

    with pytest.raises(NotAWorkingDirectory) as error:
        Client(base).status()
    with pytest.raises(NotAWorkingDirectory, match="TRAINING_BASE_DIR$" if shells else "--base-dir$"):
        Client(base).data.inspect(file)

    assert str(error.value) == f"{base} is not a folder; {words.format(base=base)}"


def test_the_folder_is_found_as_the_commands_find_it(layout, monkeypatch):
    monkeypatch.setenv("TRAINING_BASE_DIR", str(layout.base))

    assert Client().layout == layout


def test_a_home_directory_may_be_written_short(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Client("~/training").any_layout == Layout(tmp_path / "training")


@pytest.mark.parametrize(
    "ask, content",
    [
        (lambda client: client.pause("lunch"), {"reason": "lunch"}),
        (lambda client: client.resume(), {"reason": None}),
        (lambda client: client.skip(), {"reason": None}),
        (lambda client: client.stop(), {"reason": None, "now": False}),
    ],
)
def test_a_request_returns_with_the_answer_that_bears_its_id(client, layout, board, sleeper, ask, content):
    written = []

    def obey():
        written.extend(json.loads(path.read_text()) for path in layout.control.iterdir())
        answer(layout, board, "done")

    sleeper.during = obey

    found = ask(client)

    assert (found.result, found.status) == ("done", "training")
    [request] = written
    assert request.pop("id")
    assert request == content


def test_an_answer_that_another_one_has_pushed_out_of_the_status_is_found_in_the_ledger(
    client, layout, board, ledger, sleeper
):
    def obey():
        answer(layout, board, "paused", ledger)
        board.command("skip", "another", "skipped")
        board.publish()

    sleeper.during = obey

    assert client.pause().result == "paused"


def test_a_request_of_somebody_else_is_not_replaced(client, layout, board, sleeper):
    other = layout.control / ".pause"
    other.write_text('{"id": "another"}')
    obeyed = []

    def obey():
        obeyed.extend(request.id for request in read_requests(layout))
        answer(layout, board, f"paused {len(obeyed)}")

    sleeper.during = obey

    assert client.pause().result == "paused 2"
    assert obeyed[0] == "another"


def test_a_request_that_nobody_reads_is_replaced_in_the_end(client, layout, board, sleeper):
    other = layout.control / ".pause"
    other.write_text('{"id": "another"}')

    with pytest.raises(NotObeyed):
        client.pause("mine", wait_s=5)

    assert json.loads(other.read_text())["reason"] == "mine"


@pytest.mark.parametrize("content", ['{"id": "another"}', ""])
def test_the_answer_to_a_request_that_replaced_ours_is_ours(client, layout, board, ledger, sleeper, content):
    replaced = layout.control / ".pause"

    def replace():
        replaced.write_text(content)
        sleeper.during = lambda: answer(layout, board, "paused", ledger)

    sleeper.during = replace

    assert client.pause().result == "paused"


@pytest.mark.parametrize(
    "ask, taken, message",
    [
        (
            lambda client: client.pause(),
            False,
            r"control/\.pause still lies there and holds at the next start",
        ),
        (lambda client: client.skip(), False, r"control/\.skip still lies there, but .* too old; ask again"),
        (lambda client: client.pause(), True, "it had taken the request, and may have obeyed"),
    ],
)
def test_a_daemon_that_ends_without_an_answer_is_waited_for_no_longer(
    client, layout, board, sleeper, ask, taken, message
):
    def end():
        for request in read_requests(layout) if taken else ():
            request.path.unlink()
        board.set_state(State.STOPPED)
        board.publish()

    sleeper.during = end

    with pytest.raises(NoDaemon, match=message):
        ask(client)

    assert sleeper.clock.now < 1


def test_without_a_daemon_it_says_how_the_next_one_starts_paused_or_not(client, layout, board):
    board.set_state(State.STOPPED)
    board.publish()

    with pytest.raises(NoDaemon) as resumed:
        client.resume()
    with pytest.raises(NoDaemon) as to_pause:
        client.pause()
    PauseFile(layout.pause_file).set("lunch", "now")
    with pytest.raises(NoDaemon) as to_resume:
        client.resume()

    advice = str(resumed.value)
    assert str(to_pause.value) == f"{advice}; to have it start paused: touch {layout.control / '.pause'}"
    assert str(to_resume.value) == (
        f"{advice}; to have it start without the pause: touch {layout.control / '.resume'}"
    )


def test_a_daemon_that_is_silent_has_not_stopped(client, layout, board, sleeper, monkeypatch):
    monkeypatch.setattr(
        sleeper, "during", lambda: monkeypatch.setattr("daemon.status.reader.SILENT_AFTER_S", -1)
    )

    with pytest.raises(NotObeyed):
        client.stop(until_gone=True, wait_s=5)


def test_an_answer_to_somebody_else_is_none(client, board, sleeper):
    board.command("pause", "another", "paused")
    board.publish()

    with pytest.raises(NotObeyed, match="has not obeyed within 5 s"):
        client.pause(wait_s=5)

    assert sleeper.clock.now == pytest.approx(5, abs=0.1)


def test_a_stop_that_waits_says_for_what(client, layout, board, sleeper):
    board.set_state(State.STOPPING, "after the current file")
    board.set(current_file="a.jsonl", file_step=12, file_total_steps=400, eta_s=70.0)
    board.publish()

    with pytest.raises(NotObeyed) as refused:
        client.stop(until_gone=True, wait_s=5)

    assert str(refused.value) == (
        "the daemon has not stopped within 5 s; it trains the rest of a.jsonl first (step 12 of 400, 1 min "
        "10 s left); to stop at the next step: training_controller stop --now"
    )


@pytest.mark.parametrize(
    "state, shown, expected",
    [
        ("training", {"file_total_steps": 9}, "not obeyed within 5 s; it will do so after the current step"),
        ("loading", {}, "not obeyed within 5 s; it will do so as soon as it can"),
        ("stopping", {"worker_pid": 7}, "not stopped within 5 s; it stops once its worker has exited"),
    ],
)
def test_without_a_step_to_wait_for_no_step_is_named(client, board, sleeper, state, shown, expected):
    board.set_state(State(state), None)
    board.set(**shown)
    board.publish()

    with pytest.raises(NotObeyed, match=expected):
        client.stop(now=True, until_gone=True, wait_s=5)


@pytest.mark.parametrize(
    "state, expected",
    [
        ("training", "not stopped within 5 s; it trains the rest of a.jsonl first"),
        ("paused", "not obeyed within 5 s; it will do so as soon as it can"),
    ],
)
def test_a_stop_after_the_file_is_not_promised_after_the_step(client, board, sleeper, state, expected):
    board.set_state(State(state), None)
    board.set(current_file="a.jsonl", file_step=12, file_total_steps=400)
    board.publish()

    with pytest.raises(NotObeyed, match=expected):
        client.stop(until_gone=True, wait_s=5)


def test_a_stop_that_somebody_cancels_is_waited_for_no_longer(client, layout, board, sleeper):
    def obey_and_resume():
        answer(layout, board, "stopping after the current file")
        board.publish()  # and it trains

    sleeper.during = obey_and_resume

    with pytest.raises(NotObeyed, match="the stop was cancelled by: training_controller resume"):
        client.stop(until_gone=True, wait_s=5)


def test_to_wait_until_it_is_gone_no_answer_is_enough(client, layout, board, sleeper):
    def obey():
        board.set_state(State.STOPPING)
        answer(layout, board, "stopping after the current file")
        if sleeper.clock.now > 2:
            board.set_state(State.STOPPED)
            board.publish()

    sleeper.during = obey

    found = client.stop(until_gone=True)

    assert (found.result, found.status) == ("the daemon has stopped", "stopped")
    assert sleeper.clock.now > 2


def test_without_a_daemon_nothing_is_written(client, layout):
    with pytest.raises(NoDaemon, match="none has ever run") as error:
        client.pause()

    assert isinstance(error.value, ClientError)
    assert list(layout.control.iterdir()) == []


def test_the_current_model_is_said_to_be_missing_before_the_first_checkpoint(layout):
    with pytest.raises(NoSuchCheckpoint, match="current_model is not there; there is"):
        Client(layout.base).checkpoints.current_model()


def test_the_current_model_keeps_its_folder_when_another_becomes_current(layout):
    first = publish(layout, 1, step=2)
    found = Client(layout.base).checkpoints.current_model()
    publish(layout, 2, step=4)

    assert found == first


@pytest.mark.parametrize("ask", ["inspect", "dry_run"])
def test_a_file_may_be_named_by_a_text_and_one_that_is_missing_is_said_to_be(layout, ask):
    with pytest.raises(NotATrainingFile, match=r"^gone.jsonl is not a file; expected one with rows$"):
        getattr(Client(layout.base).data, ask)("gone.jsonl")
