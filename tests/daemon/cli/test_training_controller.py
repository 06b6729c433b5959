"""The command training_controller, with a status file and a thread in the daemon's place."""

import io
import json
import os
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console
from typer.testing import CliRunner

from daemon.cli import training_queue
from daemon.cli.status_view import draw
from daemon.cli.training_controller import app
from daemon.client.errors import NoDaemon
from daemon.control.control_files import read_requests
from daemon.control.pause_file import PauseFile
from daemon.status.board import StatusBoard
from daemon.status.last_known import last_known
from daemon.status.reader import SILENT_AFTER_S, read_status
from tests.daemon.cli.runner import runner_of
from tests.health import begin_to_forget
from tests.health import publish as publish_checkpoint
from tests.support import eventually, rows, write_jsonl
from trainer.protocol.places import Outcome
from trainer.protocol.status import QueueCounts, State, SuiteResult


def publish(layout, state=State.IDLE, *, pid=None, **clock):
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid() if pid is None else pid, **clock)
    board.set_state(state)
    board.publish()
    return board


def pid_of_a_process_that_has_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


run = runner_of(app)


def answering_daemon(layout, board, result="paused"):
    """Start a thread that obeys one request as the daemon does."""

    def obey():
        [request] = eventually(lambda: read_requests(layout), what="a request")
        board.command(request.name, request.id, result)
        board.publish()
        request.path.unlink()

    thread = threading.Thread(target=obey)
    thread.start()
    return thread


def test_a_stop_says_that_a_file_is_not_forgotten(layout):
    begin_to_forget(layout)
    thread = answering_daemon(layout, publish(layout), result="stopping")

    shown = run(layout, "stop")

    thread.join()
    assert shown.stderr == (
        "note: leak.jsonl was to be forgotten, and is not; asked again, it continues where it was: "
        "training_models forget 6335b439f31c\n"
    )


@pytest.mark.parametrize("command", ["pause", "resume", "skip"])
def test_a_command_returns_with_the_daemons_answer(layout, command):
    thread = answering_daemon(layout, publish(layout), result="as you wish")

    result = run(layout, command, "--reason", "because")

    thread.join()
    assert (result.exit_code, result.stdout) == (0, "as you wish\n")


def test_json_carries_the_answer_for_programs(layout):
    thread = answering_daemon(layout, publish(layout), result="paused")

    result = run(layout, "pause", "--json")

    thread.join()
    assert json.loads(result.stdout) == {"result": "paused", "status": "idle"}


def test_a_daemon_that_does_not_obey_in_time_is_reported(layout):
    publish(layout)

    result = run(layout, "pause", "--wait", "0")

    assert result.exit_code == 1
    assert "has not obeyed within 0 s" in str(result.exception)


def test_a_silent_daemon_is_not_to_be_started_again_which_its_lock_forbids(layout):
    publish(layout, wall_clock=lambda: 1.0)

    result = run(layout, "stop")

    assert str(result.exception).endswith("; see what is wrong: training_health check")
    assert read_requests(layout) == []


@pytest.mark.parametrize("command", ["pause", "resume", "skip", "stop"])
@pytest.mark.parametrize("state", ["never", "stopped", "dead"])
def test_without_a_daemon_nothing_is_left_behind_and_the_message_says_so(layout, command, state):
    if state == "stopped":
        publish(layout, State.STOPPED)
    if state == "dead":
        publish(layout, pid=pid_of_a_process_that_has_ended())

    result = run(layout, command)

    assert result.exception.exit_code == NoDaemon.exit_code
    assert "training_daemon" in str(result.exception)
    assert read_requests(layout) == []


@pytest.mark.parametrize(
    "age_s, life", [(0, "running"), (SILENT_AFTER_S, "running"), (SILENT_AFTER_S + 0.1, "silent")]
)
def test_a_daemon_is_believed_only_while_its_heart_beats(layout, age_s, life):
    publish(layout, wall_clock=lambda: 1_000_000.0)

    status = read_status(layout, now=1_000_000.0 + age_s)

    assert status.life == life


def test_files_are_counted_where_the_status_file_is_unreadable(layout):
    layout.status_file.write_text("{")
    write_jsonl(layout.finished(Outcome.FAILED) / "a.jsonl", rows(1))

    assert re.search("completed 0 +failed 1 +skipped 0", run(layout, "status").stdout)


def test_status_of_a_silent_daemon_says_not_running_and_exits_accordingly(layout):
    publish(layout, State.TRAINING, wall_clock=lambda: 1_000_000.0)

    result = run(layout, "status")

    assert result.exit_code == NoDaemon.exit_code
    assert "not running" in result.stdout


@pytest.mark.parametrize("was_there", [True, False])
def test_without_a_daemon_the_status_says_what_the_next_one_finds(layout, was_there):
    if was_there:
        publish(layout, State.STOPPED)
    write_jsonl(layout.inbox / "high" / "a.jsonl", rows(1))
    PauseFile(layout.pause_file).set("lunch", "2026-01-01T00:00:00+00:00")

    shown = run(layout, "status").stdout
    elsewhere = runner_of(app, is_exported=False)(layout, "status").stdout
    document = json.loads(run(layout, "status", "--json").stdout)

    assert "the next daemon starts paused (lunch)" in shown
    words = " ".join(elsewhere.replace("│", " ").split())  # as the panel breaks the lines
    assert f"until: training_controller --base-dir {layout.base}"[:50] in words
    assert "1 file, not taken in yet" in shown
    assert (document["starts_paused"], document["in_inbox"], document["queue"]["high"]) == (True, 1, 0)


def test_without_a_daemon_the_status_is_that_of_the_model_as_it_is_now(layout):
    publish_checkpoint(layout, 1, step=9)
    board = publish(layout)
    board.set(**last_known(layout.models), loss=0.5, current_file="a.jsonl", file_total_steps=20)
    board.set_state(State.STOPPED)
    board.publish()
    publish_checkpoint(layout, 2, step=4)  # the model went back

    shown = run(layout, "status").stdout
    document = json.loads(run(layout, "status", "--json").stdout)

    assert re.search(r"global step +4 ", shown)
    assert "checkpoints/step-000000004-2" in shown
    assert (document["current_step"], document["loss"], document["current_file"]) == (4, None, None)


def test_without_a_daemon_the_status_keeps_what_it_knows_of_the_same_model(layout):
    publish_checkpoint(layout, 1, step=9)
    board = publish(layout)
    board.set(**last_known(layout.models), loss=0.5)
    board.set_state(State.STOPPED)
    board.publish()

    assert json.loads(run(layout, "status", "--json").stdout)["loss"] == 0.5


def test_with_a_daemon_the_status_says_nothing_of_the_next_one(layout):
    publish(layout, State.PAUSED)
    PauseFile(layout.pause_file).set("lunch", "2026-01-01T00:00:00+00:00")

    shown = run(layout, "status").stdout
    document = json.loads(run(layout, "status", "--json").stdout)

    assert "the next daemon" not in shown
    assert (document["starts_paused"], document["in_inbox"]) == (None, None)


def test_what_alarmed_a_daemon_that_has_stopped_is_no_longer_said_of_now(layout):
    board = publish(layout, State.STOPPED)
    board.alert("x", "the disk is slow")
    board.publish()

    shown = run(layout, "status").stdout

    assert re.search(r"last alert +the disk is slow", shown)


def test_what_a_killed_daemon_said_of_itself_is_no_longer_said_of_now(layout):
    board = publish(layout, pid=pid_of_a_process_that_has_ended())
    board.set_state(State.LOADING, "the worker exits, and another one takes its place")
    board.publish()

    shown = run(layout, "status").stdout

    assert re.search(r"last state +loading: the worker exits, and another one takes its place", shown)
    assert " reason " not in shown


def test_status_shows_hostile_names_harmlessly(layout):
    board = publish(layout, State.TRAINING)
    board.set(current_file="\x1b]0;owned\x07[/red].jsonl", priority="high", file_step=3, file_total_steps=9)
    board.alert("x", "[bold]\x1b[31mred")
    board.publish()

    result = run(layout, "status")

    assert result.exit_code == 0
    assert "\x1b]0" not in result.stdout
    assert "[/red].jsonl" in result.stdout
    assert "step 3 of 9" in result.stdout


def test_status_json_is_the_file_and_how_alive_the_daemon_is(layout):
    publish(layout)

    result = run(layout, "status", "--json")

    fields = json.loads(result.stdout)
    assert (fields["status"], fields["daemon"]) == ("idle", "running")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"heartbeat_at": 5}', '{"heartbeat_at": "soon"}'])
def test_a_status_file_that_makes_no_sense_counts_as_no_daemon(layout, content):
    layout.status_file.write_text(content)

    found = read_status(layout)

    assert (found.life, found.is_running, found.fields) == ("unreadable", False, {})


@pytest.mark.parametrize(
    "name, value",
    [
        ("loss", "low"),
        ("queue", [1]),
        ("queue", {"high": "many"}),
        ("last_checkpoint", "step-1"),
        ("last_error", {"class": 7}),
        ("last_command", {"id": "7"}),
        ("suite_scores", {"sums": 1}),
        ("gpus", {"name": "H200"}),
        ("file_total_steps", "all"),
        ("alerts", 7),
    ],
)
def test_a_status_file_with_a_value_of_the_wrong_kind_is_one_sentence(layout, name, value):
    publish(layout)
    fields = json.loads(layout.status_file.read_bytes())
    layout.status_file.write_text(json.dumps({**fields, name: value}))

    shown, as_json, paused = (run(layout, *words) for words in (["status"], ["status", "--json"], ["pause"]))

    assert (shown.exit_code, as_json.exit_code) == (3, 3)
    assert json.loads(as_json.stdout)["daemon"] == "unreadable"
    assert "─ unknown ─" in shown.stdout
    assert f"in an unknown state (status/training_status.json: {name}" in str(paused.exception)


def test_a_status_with_an_error_and_an_answer_is_read(layout):
    board = publish(layout)
    board.error("BadFile", "it is empty", "a.jsonl")
    board.command("pause", "7", "paused")
    board.publish()

    assert read_status(layout).is_running


def test_the_base_dir_may_stand_before_the_subcommand(layout, monkeypatch):
    monkeypatch.setenv("TRAINING_BASE_DIR", "/nowhere")
    publish(layout)

    result = CliRunner().invoke(app, ["--base-dir", str(layout.base), "status", "--json"])

    assert json.loads(result.stdout)["daemon"] == "running"


def drawn(layout, width=80):
    """Return the lines of the panel as a terminal of this width shows them."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(draw(read_status(layout)))
    return console.file.getvalue().splitlines()


def line_of(lines, name):
    return next((line.strip("│ ") for line in lines if line.startswith(f"│ {name}")), None)


def board_at_work(layout, state, reason=None):
    board = publish(layout, state)
    board.set_state(state, reason)
    board.set(current_file="a.jsonl", priority="high", file_step=30, file_total_steps=90)
    board.set(eta_s=60.0, tokens_per_sec=500.0)
    board.publish()
    return board


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_alert_has_lines_of_its_own_below_the_bar(layout, width):
    board = board_at_work(layout, State.TRAINING)
    board.alert("a", "the first thing")
    board.alert("b", "the second thing")
    board.publish()

    lines = drawn(layout, width)

    assert all(len(line) == width for line in lines)
    [bar] = [line for line in lines if "━" in line]
    assert bar.strip("│ ━╺╸") == ""
    assert [line.strip("│ ") for line in lines if "alert" in line] == [
        "alert        the first thing",
        "alert        the second thing",
    ]


@pytest.mark.parametrize(
    "state, moves", [(State.TRAINING, True), (State.PAUSED, False), (State.BLOCKED, False)]
)
def test_speed_and_time_left_are_shown_only_while_steps_are_taken(layout, state, moves):
    board_at_work(layout, state)

    lines = drawn(layout)

    assert (line_of(lines, "speed") is not None) == moves
    assert ("1 min 00 s left" in line_of(lines, "progress")) == moves
    assert "a.jsonl (high)" in line_of(lines, "file")


def test_a_begun_file_is_mentioned_while_nothing_is_trained(layout):
    board = publish(layout, State.PAUSED)
    board.set(queue=QueueCounts(processing=1))
    board.publish()

    assert "1 in queue/processing/" in line_of(drawn(layout), "file")


def test_the_last_error_is_shown_with_its_time_unless_it_is_the_reason_itself(layout):
    board = publish(layout)
    board.error("BadFile", "it is empty", "a.jsonl")
    board.publish()
    shown = line_of(drawn(layout), "last error")
    board.error("Blocked", "no such model", None)
    board.set_state(State.BLOCKED, "no such model")
    board.publish()

    lines = drawn(layout)

    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, a.jsonl: it is empty", shown)
    assert sum("no such model" in line for line in lines) == 1


def test_suites_and_what_was_not_measured_have_a_line_each(layout):
    board = publish(layout)
    before = drawn(layout)
    score = SuiteResult(step=1200, rows=4, exact_match=0.75, loss=1.0)
    board.set(suite_scores={"sums": score}, evaluation_left_out="no time was left")
    board.publish()

    lines = drawn(layout)

    assert line_of(before, "suites") is None
    assert line_of(lines, "suites") == "suites        sums 75% correct at step 1,200"
    assert line_of(lines, "not measured") == "not measured  no time was left"


@pytest.mark.parametrize("state, is_shown", [(State.TRAINING, True), (State.PAUSED, False)])
def test_what_the_worker_does_is_shown_while_it_takes_no_step(layout, state, is_shown):
    board = publish(layout, state)
    board.set(current_file="a.jsonl", file_step=0, file_total_steps=9, worker_section="evaluating")
    board.publish()

    assert bool(re.search("now +evaluating", run(layout, "status").stdout)) == is_shown


def test_the_daemon_is_named_once(layout):
    publish(layout)

    assert line_of(drawn(layout), "daemon") == f"daemon       running (pid {os.getpid()})"


@pytest.mark.parametrize("arguments, exit_code", [(["pause"], NoDaemon.exit_code), (["status", "--nope"], 2)])
def test_with_json_an_error_is_json_on_standard_output(layout, arguments, exit_code):
    command = [sys.executable, "-m", "daemon.cli.training_controller", *arguments, "--json"]
    environment = os.environ | {"TRAINING_BASE_DIR": str(layout.base)}

    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert result.returncode == exit_code
    assert list(json.loads(result.stdout)) == ["error"]


@pytest.mark.parametrize("command", [app, training_queue.app])
def test_no_summary_is_cut_in_the_help_of_a_narrow_terminal(command):
    result = CliRunner().invoke(command, ["--help"], env={"COLUMNS": "80"})

    commands = result.stdout.partition("Commands:")[2]
    assert commands
    assert "..." not in commands


def test_watch_prints_a_line_of_json_for_each_change(layout, monkeypatch):
    board = publish(layout)
    looks = iter([lambda: None, lambda: (board.set_state(State.PAUSED), board.publish())])

    def look(seconds):
        try:
            next(looks)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("daemon.cli.training_controller.time.sleep", look)

    result = run(layout, "status", "--watch", "--json")

    assert result.exit_code == 0
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["idle", "paused"]
