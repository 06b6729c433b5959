"""The line that the daemon's terminal gets while there is work: when, and what it says."""

import logging
from types import SimpleNamespace

import pytest

from daemon.progress_lines import FIRST_AFTER_S, INTERVAL_S, ProgressLines
from daemon.status.board import StatusBoard
from tests.daemon.filled_queue import put
from tests.support import FakeClock
from trainer.config.schema import Settings
from trainer.protocol.messages import JobStarted, StepReport
from trainer.protocol.status import State


class Terminal:
    """A daemon's progress lines, without a daemon."""

    def __init__(self, tmp_path, queue, caplog):
        self.clock = FakeClock(1000.0)
        self.queue = queue
        self.board = StatusBoard(tmp_path / "status.json", daemon_pid=1, clock=self.clock)
        self.settings = SimpleNamespace(current=Settings())
        self.progress = ProgressLines(lambda: self.board.status, queue, self.settings, clock=self.clock)
        self._caplog = caplog

    def turn(self, now):
        """Let the daemon turn once; return what it says."""
        self.clock.now = now
        self._caplog.clear()
        self.progress.say_if_due()
        return [record.getMessage() for record in self._caplog.records]

    def start(self, job, total_steps=188):
        self.board.set_state(State.TRAINING)
        self.board.job_started(
            job,
            JobStarted(
                job_id=job.id,
                first_step=0,
                total_steps=total_steps,
                steps_per_epoch=total_steps,
                global_step=0,
            ),
        )

    def continue_at(self, job, first_step):
        self.board.job_started(
            job,
            JobStarted(
                job_id=job.id, first_step=first_step, total_steps=188, steps_per_epoch=188, global_step=90
            ),
        )

    def step(self, number, loss=4.4169):
        self.board.set(worker_section="training")
        self.board.steps(
            (
                StepReport(
                    global_step=number, job_id="1", file_step=number, rows=16, tokens=1000,
                    supervised_tokens=500, loss=loss, learning_rate=1e-4, grad_norm=1.0, seconds=0.5,
                ),
            )
        )  # fmt: skip


@pytest.fixture
def terminal(tmp_path, queue, caplog):
    caplog.set_level(logging.INFO, logger="daemon")
    return Terminal(tmp_path, queue, caplog)


@pytest.fixture
def job(queue, layout):
    """The job that is being trained."""
    put(queue, layout, "chat.jsonl", id="1")
    started, _ = queue.start(queue.next())
    return started


def test_while_training_it_says_how_far_the_file_and_the_queue_are(terminal, job, queue, layout):
    put(queue, layout, "b.jsonl", id="2")
    put(queue, layout, "c.jsonl", id="3")
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(37)

    lines = terminal.turn(1000.0 + FIRST_AFTER_S)

    assert lines == [
        "chat.jsonl: step 37 of 188, loss 4.4169, 2,000 tokens/s, 1 min 15 s left; "
        "6 rows in 2 more files wait, about 1 min 15 s until all are trained"
    ]


def test_no_speed_is_reckoned_across_a_model_that_went_back(terminal, queue, layout):
    put(queue, layout, "b.jsonl", id="2")  # 3 rows
    terminal.board.set(tokens_seen=9000, samples_seen=900, worker_pid=7)
    terminal.board.set_state(State.LOADING)
    terminal.turn(1000.0)
    terminal.turn(1000.0 + FIRST_AFTER_S)
    terminal.board.set(tokens_seen=5000, samples_seen=500)

    [line] = terminal.turn(1000.0 + FIRST_AFTER_S + INTERVAL_S)

    assert line == "loading tiny for 35 s; 3 rows in 1 file wait"


def test_the_time_of_the_queue_counts_every_epoch_of_the_rows_that_wait(terminal, job, queue, layout):
    put(queue, layout, "b.jsonl", id="2")  # 3 rows
    terminal.settings.current = Settings.model_validate({"training": {"epochs": 320}})
    terminal.start(job, total_steps=37)
    terminal.turn(1000.0)
    terminal.step(37)  # 32 rows in each second

    [line] = terminal.turn(1005.0)

    assert line.endswith("0 s left; 3 rows in 1 more file wait, about 30 s until all are trained")


def test_the_time_of_the_queue_counts_a_file_that_has_just_begun(terminal, job, queue, layout):
    put(queue, layout, "b.jsonl", id="2")  # 3 rows
    terminal.start(job)
    terminal.turn(1000.0)
    for number in range(1, 11):
        terminal.step(number)  # 160 rows in 5 seconds
    terminal.board.job_ended()
    terminal.start(job)

    [line] = terminal.turn(1005.0)

    assert line.endswith("3 rows in 1 more file wait, about 1 min 34 s until all are trained")


def test_no_time_is_named_while_a_file_is_forgotten(terminal, job, queue, layout):
    put(queue, layout, "b.jsonl", id="2")
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(37)
    terminal.turn(1005.0)
    terminal.step(38)
    terminal.board.job_ended()
    terminal.board.set_state(State.TRAINING, "forgetting a file: starting")

    [line] = terminal.turn(1035.0)

    assert line.startswith("forgetting a file: starting; ")
    assert line.endswith(" wait")


def test_the_time_of_loading_counts_for_no_speed(terminal, job):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(1)
    terminal.turn(1005.0)
    terminal.step(2)
    terminal.board.job_ended()
    terminal.board.set_state(State.LOADING)
    terminal.turn(1030.0)
    terminal.continue_at(job, 2)
    terminal.board.set_state(State.TRAINING)

    [line] = terminal.turn(1035.0)

    assert line == "chat.jsonl: step 2 of 188"


@pytest.mark.parametrize("seconds, is_said", [(29.9, False), (30.0, True)])
def test_there_is_one_line_every_thirty_seconds(terminal, job, seconds, is_said):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(1)
    assert terminal.turn(1004.9) == []
    assert len(terminal.turn(1005.0)) == 1

    assert bool(terminal.turn(1005.0 + seconds)) == is_said


def test_the_daemon_wakes_for_the_line_only_while_there_is_work(terminal, job):
    assert terminal.progress.due_at() == float("inf")
    terminal.start(job)
    terminal.turn(1000.0)
    assert terminal.progress.due_at() == 1000.0 + FIRST_AFTER_S
    terminal.turn(1005.0)
    assert terminal.progress.due_at() == 1005.0 + INTERVAL_S

    terminal.board.set_state(State.PAUSED)
    terminal.turn(1006.0)

    assert terminal.progress.due_at() == float("inf")


def test_many_short_files_do_not_put_the_line_off(terminal, job):
    said = []
    for second in range(61):
        terminal.start(job)
        said += terminal.turn(1000.0 + second)
        terminal.board.set_state(State.IDLE)
        said += terminal.turn(1000.5 + second)

    assert len(said) == 2  # after 5 and after 35 seconds


def test_work_that_begins_after_a_rest_has_some_seconds_before_its_first_line(terminal, job):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.turn(1005.0)
    terminal.board.set_state(State.IDLE)
    terminal.turn(1010.0)

    terminal.board.set_state(State.TRAINING)

    assert terminal.turn(2000.0) == []
    assert terminal.turn(2004.9) == []
    assert len(terminal.turn(2005.0)) == 1


def test_while_the_model_loads_it_says_which_and_how_far(terminal, queue, layout):
    put(queue, layout, "b.jsonl", id="2")
    terminal.settings.current = Settings.model_validate({"model": {"base_model": "Qwen/Qwen3-0.6B"}})
    terminal.board.set_state(State.LOADING, "reading weights")
    terminal.board.set(worker_pid=7)
    terminal.turn(1000.0)

    lines = terminal.turn(1035.0)

    assert lines == ["loading Qwen3-0.6B for 35 s (reading weights); 3 rows in 1 file wait"]


def test_a_new_worker_has_not_loaded_since_the_one_before(terminal):
    terminal.board.set_state(State.LOADING)
    terminal.board.set(worker_pid=7)
    terminal.turn(1000.0)

    terminal.board.set(worker_pid=None)
    terminal.board.set_state(State.LOADING, "the worker is restarted after a delay, because it crashed")
    between = terminal.turn(1030.0)
    terminal.board.set_state(State.LOADING)
    terminal.board.set(worker_pid=8)
    terminal.turn(1031.0)

    assert between == ["the worker is restarted after a delay, because it crashed"]
    assert terminal.turn(1060.0) == ["loading tiny for 29 s"]


def test_before_the_first_step_it_says_what_is_done_with_the_file(terminal, job):
    terminal.board.set_state(State.TRAINING)
    terminal.board.set(current_file="chat.jsonl", current_job="1", worker_section="preparing")
    terminal.turn(1000.0)

    assert terminal.turn(1005.0) == ["chat.jsonl: preparing"]


def test_while_rows_are_checked_it_says_of_which_file(terminal):
    terminal.board.set_state(State.CHECKING)
    terminal.board.set(current_file="big.jsonl")
    terminal.turn(1000.0)

    assert terminal.turn(1005.0) == ["big.jsonl: checking its rows"]


def test_when_no_step_was_taken_since_the_last_line_it_says_what_is_done_instead(terminal, job):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(3)
    [before] = terminal.turn(1005.0)
    terminal.board.set(worker_section="saving")

    [line] = terminal.turn(1035.0)

    assert "now" not in before
    assert line.endswith(", now saving")


def test_a_file_that_has_just_begun_shows_the_speed_of_those_before(terminal, job):
    terminal.start(job)
    terminal.turn(1000.0)
    for number in range(1, 11):
        terminal.step(number)
    terminal.board.job_ended()
    terminal.start(job)

    [line] = terminal.turn(1005.0)

    assert line == "chat.jsonl: step 0 of 188, 2,000 tokens/s"


@pytest.mark.parametrize("state", [State.IDLE, State.PAUSED, State.BLOCKED, State.STOPPED])
def test_without_work_nothing_is_said(terminal, state):
    terminal.board.set_state(state)

    assert [terminal.turn(1000.0 + seconds) for seconds in range(0, 120, 10)] == [[]] * 12


def test_stopping_after_the_current_file_goes_on_telling(terminal, job):
    terminal.start(job)
    terminal.board.set_state(State.STOPPING, "after the current file")
    terminal.turn(1000.0)
    terminal.step(1)

    assert len(terminal.turn(1005.0)) == 1


def test_the_line_belongs_to_its_job(terminal, job, caplog):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.turn(1005.0)

    assert [record.job_id for record in caplog.records] == ["1"]


def test_a_file_that_continues_is_not_said_to_have_the_loss_of_another(terminal, job):
    terminal.start(job)
    terminal.turn(1000.0)
    terminal.step(37, loss=1.6354)
    terminal.continue_at(job, 7)
    assert "chat.jsonl: step 7 of 188" in (line := "\n".join(terminal.turn(1000.0 + FIRST_AFTER_S)))
    assert "loss" not in line

    terminal.step(8, loss=3.4152)
    assert "loss 3.4152" in "\n".join(terminal.turn(1000.0 + FIRST_AFTER_S + INTERVAL_S))
