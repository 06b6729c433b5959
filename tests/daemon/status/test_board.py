"""The status file: what it promises, when it is written, and that it is always JSON."""

import json

import pytest

from daemon.status.board import MAX_ALERTS, StatusBoard
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.layout import COSTS_FILE
from trainer.protocol.messages import (
    CheckpointRef,
    Evaluated,
    JobStarted,
    Score,
    StepReport,
    SuiteScored,
    Validated,
    WorkerReady,
)
from trainer.protocol.status import Gpu, Memory, QueueCounts, State

PROMISED = {
    "schema_version",
    "status",
    "status_reason",
    "heartbeat_at",
    "daemon_pid",
    "worker_pid",
    "model_name",
    "method",
    "current_file",
    "current_job",
    "priority",
    "current_step",
    "total_steps",
    "file_step",
    "file_total_steps",
    "epoch",
    "loss",
    "learning_rate",
    "grad_norm",
    "validation_loss",
    "val_train_gap",
    "suite_scores",
    "evaluation_left_out",
    "think_tag_percent",
    "tokens_per_sec",
    "samples_per_sec",
    "tokens_seen",
    "samples_seen",
    "eta_s",
    "queue",
    "last_checkpoint",
    "memory",
    "gpus",
    "last_error",
    "alerts",
}
FOLDERS = {"high", "normal", "low", "processing", "failed", "skipped", "recently_completed"}


@pytest.fixture
def clock():
    return FakeClock(1000.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training_status.json"


@pytest.fixture
def board(path, clock):
    return StatusBoard(path, daemon_pid=4711, clock=clock, wall_clock=lambda: 1_000_000_000.0)


@pytest.fixture
def job(tmp_path):
    return job_for(write_jsonl(tmp_path / "a.jsonl", rows(2)))


def shown(board, path):
    """Publish and return what a strict reader sees."""
    board.publish()
    return json.loads(path.read_bytes(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def step(number, *, loss=2.0, seconds=0.5, tokens=100, rows=4, grad_norm=1.0):
    return StepReport(
        global_step=100 + number,
        job_id="j",
        file_step=number,
        rows=rows,
        tokens=tokens,
        supervised_tokens=50,
        loss=loss,
        learning_rate=1e-4,
        grad_norm=grad_norm,
        seconds=seconds,
    )


def started(first_step=0, total_steps=10, steps_per_epoch=5):
    return JobStarted(
        job_id="j",
        first_step=first_step,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        global_step=100,
    )


def due(board):
    """Return whether the file is written now."""
    refreshed = []
    board.publish_if_due(lambda: refreshed.append(True))
    return bool(refreshed)


# ---- what it promises


def test_every_promised_field_is_there_from_the_start(board, path):
    status = shown(board, path)

    assert set(status) >= PROMISED
    assert set(status["queue"]) == FOLDERS
    assert set(status["memory"]) == {"daemon_rss_bytes", "worker_rss_bytes", "system_available_bytes"}


def test_what_is_not_known_is_null_and_not_invented(board, path):
    status = shown(board, path)

    known = {"schema_version", "status", "heartbeat_at", "daemon_pid", "queue", "memory", "gpus", "alerts"}
    known.add("suite_scores")  # none are configured, as far as it knows
    assert {name for name in PROMISED if status[name] is not None} == known


def test_parts_have_their_promised_fields(board, path):
    gpu = Gpu(name="H200", used_bytes=1, total_bytes=2, utilization_percent=3, temperature_c=None)
    board.set(gpus=[gpu], memory=Memory(daemon_rss_bytes=5), queue=QueueCounts(high=2))
    board.checkpoint(CheckpointRef(path="checkpoints/step-000000007", step=7, at="now"))
    board.error("BadFile", "line 1 is bad", "a.jsonl")

    status = shown(board, path)

    assert status["gpus"] == [
        {"name": "H200", "used_bytes": 1, "total_bytes": 2, "utilization_percent": 3, "temperature_c": None}
    ]
    assert status["last_checkpoint"] == {"path": "checkpoints/step-000000007", "step": 7, "at": "now"}
    assert status["last_error"] == {
        "class": "BadFile",
        "message": "line 1 is bad",
        "file": "a.jsonl",
        "at": "2001-09-09T01:46:40.000Z",
    }
    assert status["queue"]["high"] == 2


# ---- a file while it is trained


def test_a_started_file_is_shown_with_its_way_to_go(board, path, job):
    board.job_started(job, started(first_step=4, total_steps=10))

    status = shown(board, path)

    assert (status["current_file"], status["current_job"], status["priority"]) == (
        "a.jsonl",
        job.id,
        "normal",
    )
    assert (status["current_step"], status["total_steps"]) == (100, 106)
    assert (status["file_step"], status["file_total_steps"], status["epoch"]) == (4, 10, 1)


@pytest.mark.parametrize("first_step, epoch", [(0, 1), (4, 1), (5, 2), (9, 2), (10, 2)])
def test_the_epoch_at_the_start_counts_from_one(board, path, job, first_step, epoch):
    board.job_started(job, started(first_step=first_step, total_steps=10, steps_per_epoch=5))

    assert shown(board, path)["epoch"] == epoch


@pytest.mark.parametrize("file_step, epoch", [(1, 1), (5, 1), (6, 2), (10, 2)])
def test_the_epoch_of_a_step_counts_from_one(board, path, job, file_step, epoch):
    board.job_started(job, started(steps_per_epoch=5))

    board.steps((step(file_step),))

    assert shown(board, path)["epoch"] == epoch


def test_steps_show_speed_and_what_is_left(board, path, job):
    board.job_started(job, started(total_steps=10))

    board.steps((step(1, seconds=1.0), step(2, seconds=0.5, loss=1.5)))

    status = shown(board, path)
    assert (status["current_step"], status["file_step"], status["loss"]) == (102, 2, 1.5)
    assert (status["tokens_per_sec"], status["samples_per_sec"]) == (133.3, 5.3)
    assert status["eta_s"] == 6.0
    assert (status["tokens_seen"], status["samples_seen"]) == (200, 8)


def test_the_speed_is_that_of_the_last_seconds(board, path, clock, job):
    board.job_started(job, started())
    board.steps((step(1, seconds=10.0),))
    clock.now += 15.1

    board.steps((step(2, seconds=1.0),))

    assert shown(board, path)["tokens_per_sec"] == 100.0


def test_steps_that_took_no_time_divide_by_nothing(board, path, job):
    board.job_started(job, started())

    board.steps((step(1, seconds=0.0),))

    assert shown(board, path)["tokens_per_sec"] is None


def test_the_gap_is_validation_minus_training(board, path, job):
    board.job_started(job, started())
    board.steps((step(1, loss=2.0),))
    before = shown(board, path)["val_train_gap"]

    board.validated(Validated(global_step=101, loss=2.5, rows=3))

    assert before is None
    assert shown(board, path)["val_train_gap"] == 0.5


@pytest.mark.parametrize("other_loss, gap", [(2.25, 0.25), (None, None)])
def test_the_gap_is_of_the_last_weights_which_the_training_loss_is_of(board, path, job, other_loss, gap):
    board.job_started(job, started())
    board.steps((step(1, loss=2.0),))

    board.validated(Validated(global_step=101, loss=1.5, rows=3, weights="average", other_loss=other_loss))

    assert shown(board, path)["val_train_gap"] == gap


def test_the_newest_score_of_each_suite_is_shown_with_its_name_made_printable(board, path):
    for step, suite, exact_match in ((1, "a", 0.0), (1, "b\x1b[2J", 0.5), (2, "a", 1.0)):
        score = Score(rows=4, loss=1.5, exact_match=exact_match)
        board.suite_scored(SuiteScored(global_step=step, suite=suite, overall=score))

    assert shown(board, path)["suite_scores"] == {
        "a": {"step": 2, "rows": 4, "exact_match": 1.0, "loss": 1.5},
        "b\\x1b[2J": {"step": 1, "rows": 4, "exact_match": 0.5, "loss": 1.5},
    }


def test_what_was_not_measured_is_said_until_it_is(board, path):
    def evaluated(what, left_out):
        board.evaluated(Evaluated(what=what, global_step=1, seconds=2.0, interval_steps=5, left_out=left_out))
        return shown(board, path)["evaluation_left_out"]

    told = [
        evaluated("suites", "no time for suites"),
        evaluated("previews", "no memory for previews"),
        evaluated("validation", None),
        evaluated("suites", None),
        evaluated("previews", None),
    ]

    both = "no time for suites; no memory for previews"
    assert told == ["no time for suites", both, both, "no memory for previews", None]


def test_what_evaluation_costs_is_in_the_file_of_costs(board, path):
    board.evaluated(Evaluated(what="suites", global_step=1, seconds=2.0, interval_steps=5))

    board.publish()

    costs = json.loads((path.parent / COSTS_FILE).read_text())["costs"]
    assert (costs["suites"]["seconds"], costs["suites"]["interval_steps"]) == (2.0, 5)


def test_a_loss_that_is_no_number_is_null(board, path, job):
    board.job_started(job, started())
    board.validated(Validated(global_step=100, loss=2.5, rows=3))

    board.steps((step(1, loss=None, grad_norm=None),))

    status = shown(board, path)
    assert (status["loss"], status["grad_norm"], status["val_train_gap"]) == (None, None, None)


def test_an_ended_file_is_shown_no_more_but_what_was_learned_is(board, path, job):
    board.job_started(job, started())
    board.steps((step(1),))

    board.job_ended()

    status = shown(board, path)
    gone = (
        "current_file current_job priority total_steps file_step file_total_steps epoch eta_s tokens_per_sec"
    )
    assert {status[name] for name in gone.split()} == {None}
    assert (status["current_step"], status["loss"]) == (101, 2.0)


def test_a_ready_worker_shows_where_the_model_stands(board, path):
    checkpoint = CheckpointRef(path="checkpoints/step-000000007", step=7, at="then")
    board.worker_ready(
        WorkerReady(
            model_name="tiny",
            method="full",
            global_step=7,
            tokens_seen=70,
            samples_seen=14,
            cursors=(),
            finished=(),
            checkpoint=checkpoint,
        )
    )

    status = shown(board, path)

    assert (status["model_name"], status["method"], status["current_step"]) == ("tiny", "full", 7)
    assert (status["tokens_seen"], status["samples_seen"], status["last_checkpoint"]["step"]) == (70, 14, 7)


# ---- when it is written


@pytest.mark.parametrize("state", [State.TRAINING, State.CHECKING, State.LOADING])
@pytest.mark.parametrize("later_s, is_written", [(0.0, False), (0.99, False), (1.0, True)])
def test_a_busy_daemon_writes_at_most_once_a_second(board, clock, job, state, later_s, is_written):
    board.set_state(state)
    due(board)

    clock.now += later_s
    board.steps((step(1),))

    assert due(board) == is_written


@pytest.mark.parametrize("later_s, is_written", [(4.99, False), (5.0, True)])
def test_an_idle_daemon_writes_every_five_seconds(board, clock, later_s, is_written):
    board.set_state(State.IDLE)
    due(board)

    clock.now += later_s

    assert due(board) == is_written
    assert board.due_at() == (clock.now + 5.0 if is_written else 1005.0)


@pytest.mark.parametrize("later_s, is_written", [(0.19, False), (0.2, True)])
def test_files_that_come_or_change_their_priority_are_shown_soon(board, clock, later_s, is_written):
    board.set_state(State.PAUSED)
    board.files_waiting((0, 1, 0))
    due(board)
    board.files_waiting((1, 0, 0))

    clock.now += later_s

    assert due(board) == is_written
    assert board.due_at() == (clock.now + 5.0 if is_written else 1000.2)


def test_as_long_as_the_same_files_wait_nothing_is_written_for_them(board, clock):
    board.set_state(State.PAUSED)
    board.files_waiting((0, 1, 0))
    due(board)
    board.files_waiting((0, 1, 0))

    clock.now += 4.99

    assert not due(board)


def test_a_change_of_state_is_written_at_once_and_once(board, path):
    due(board)

    board.set_state(State.PAUSED, "lunch")

    assert due(board)
    assert json.loads(path.read_bytes())["status"] == "paused"
    board.set_state(State.PAUSED, "lunch")
    assert not due(board)


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 1000, "\x1b[31m"])
def test_a_reason_that_is_shown_differently_is_no_change_each_time(board, reason):
    board.set_state(State.BLOCKED, reason)
    due(board)

    board.set_state(State.BLOCKED, reason)

    assert not due(board)
    assert board.status.status_reason.isprintable()


@pytest.mark.parametrize(
    "happens",
    [
        lambda board: board.error("X", "y", None),
        lambda board: board.command("pause", None, "paused"),
        lambda board: board.alert("new", "text"),
        lambda board: board.alert("old", "another text"),
        lambda board: board.clear_alert("old"),
        lambda board: board.job_ended(),
        lambda board: board.checkpoint(CheckpointRef(path="p", step=1, at="now")),
    ],
    ids=["error", "command", "alert", "alert replaced", "alert cleared", "job ended", "checkpoint"],
)
def test_what_somebody_waits_for_is_written_at_once(board, happens):
    board.alert("old", "text")
    due(board)

    happens(board)

    assert due(board)


def test_an_alert_that_says_the_same_again_waits_its_turn(board):
    board.alert("loss", "the loss of step 1 is not a finite number")
    due(board)

    board.alert("loss", "the loss of step 1 is not a finite number")
    board.clear_alert("absent")

    assert not due(board)


# ---- the file


def test_of_the_alerts_the_warnings_are_named_until_one_of_their_keys_is_an_error(board, path):
    board.alert("disk", "low", is_warning=True)
    board.alert("folder", "gone", is_warning=True)
    board.alert("worker", "crashed")
    first = shown(board, path)

    board.alert("disk", "full")
    board.clear_alert("folder")
    board.alert("folder", "gone")
    then = shown(board, path)

    assert (first["alerts"], first["warnings"]) == (["low", "gone", "crashed"], ["low", "gone"])
    assert (then["alerts"], then["warnings"]) == (["full", "crashed", "gone"], [])


def test_alerts_are_replaced_by_key_and_bounded(board, path):
    for number in range(MAX_ALERTS + 5):
        board.alert(f"key {number}", f"alert {number}")
    board.alert(f"key {MAX_ALERTS}", "newer")

    alerts = shown(board, path)["alerts"]

    assert len(alerts) == MAX_ALERTS
    assert "newer" in alerts
    assert "alert 0" not in alerts


@pytest.mark.parametrize("text", ["\udcff", "a\x00b\x1b[2J\n", "😀", "x" * 10_000])
def test_any_text_leaves_the_file_readable_on_one_line(board, path, job, text):
    board.job_started(job.model_copy(update={"name": text}), started())
    board.error("X", text, text)
    board.alert("x", text)
    board.command("skip", None, text)
    board.set_state(State.BLOCKED, text)

    status = shown(board, path)

    for value in (status["current_file"], status["last_error"]["message"], status["status_reason"]):
        assert value.isprintable()


def test_a_file_that_cannot_be_written_leaves_the_old_one(board, path, monkeypatch):
    board.set_state(State.IDLE)
    before = shown(board, path)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("trainer.protocol.files.os.replace", fail)
    board.set_state(State.TRAINING)
    with pytest.raises(OSError, match="no space left"):
        board.publish()

    assert json.loads(path.read_bytes()) == before
    assert [item.name for item in path.parent.iterdir() if item.name.startswith(".")] == []
