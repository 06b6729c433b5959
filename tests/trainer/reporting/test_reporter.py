"""What happens is passed on in order, steps bundled, numbers as JSON can carry them."""

import math

import pytest
import torch

from tests.support import FakeClock
from trainer.protocol.messages import Continued, Event, Heartbeat, Notice, StepReport, StepsTaken
from trainer.reporting.reporter import FLUSH_INTERVAL_S, Reporter, finite


def report(global_step: int) -> StepReport:
    return StepReport(
        global_step=global_step,
        job_id="a",
        file_step=global_step,
        rows=2,
        tokens=20,
        supervised_tokens=10,
        loss=None,
        learning_rate=1e-3,
        grad_norm=None,
        seconds=0.1,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def reporter(told, clock) -> Reporter:
    return Reporter(told.append, clock=clock)


def test_steps_are_held_back_until_another_event_and_come_before_it(reporter, told):
    for step in (1, 2):
        reporter.step(report(step), loss=0.5, grad_norm=None)
    assert told == []

    reporter.event(Continued())

    assert [type(event) for event in told] == [StepsTaken, Continued]
    assert [step.global_step for step in told[0].steps] == [1, 2]


@pytest.mark.parametrize("passed_s, is_told", [(FLUSH_INTERVAL_S - 0.01, False), (FLUSH_INTERVAL_S, True)])
def test_steps_are_held_back_no_longer_than_a_moment(reporter, told, clock, passed_s, is_told):
    clock.now += passed_s

    reporter.step(report(1), loss=0.5, grad_norm=None)

    assert bool(told) == is_told


def test_no_step_is_told_twice(reporter, told):
    reporter.step(report(1), loss=0.5, grad_norm=None)

    reporter.flush()
    reporter.flush()

    assert len(told) == 1


def test_numbers_are_read_only_when_they_are_told(reporter, told):
    loss, grad_norm = torch.tensor(0.0), torch.tensor(0.0)
    reporter.step(report(1), loss=loss, grad_norm=grad_norm)
    loss.fill_(0.25)  # such as: the GPU has just finished
    grad_norm.fill_(2.0)

    reporter.flush()

    [step] = told[0].steps
    assert (step.loss, step.grad_norm) == (0.25, 2.0)


@pytest.mark.parametrize(
    "value, number",
    [
        (1.5, 1.5),
        (torch.tensor(1.5), 1.5),
        (None, None),
        (math.nan, None),
        (torch.tensor(math.inf), None),
        (-math.inf, None),
    ],
)
def test_a_number_that_json_cannot_carry_is_told_as_null(value, number):
    assert finite(value) == number


def test_a_section_lasts_as_long_as_its_block_and_is_told_at_both_ends(reporter, told):
    reporter.section = "training"

    with reporter.doing("saving"):
        inside = reporter.section
    with pytest.raises(OSError, match="full"), reporter.doing("evaluating"):
        raise OSError("full")

    assert (inside, reporter.section) == ("saving", "training")
    assert told == [
        Heartbeat(section=name, ticks=ticks)
        for ticks, name in enumerate(["saving", "training", "evaluating", "training"])
    ]


def test_it_counts_what_was_got_done(reporter):
    reporter.tick()
    reporter.event(Heartbeat(section="training"))
    before = reporter.ticks

    reporter.flush()

    assert (before, reporter.ticks) == (2, 2)  # waiting for numbers is no progress


def test_a_loss_that_jumps_is_told_with_the_average_that_it_was_compared_with(reporter, told):
    for step in range(1, 60):
        reporter.step(report(step), loss=0.5, grad_norm=None)
    reporter.step(report(60), loss=9.0, grad_norm=None)
    reporter.flush()

    [notice] = [event for event in told if isinstance(event, Notice)]
    assert notice.message == "at step 60 the loss jumped to 9.0000 (recent average: 0.5000)"


def test_the_loss_of_another_file_is_not_compared_with_the_average_of_the_file_before(reporter, told):
    for step in range(1, 60):
        reporter.step(report(step), loss=0.5, grad_norm=None)
    for step in range(60, 120):
        reporter.step(report(step).model_copy(update={"job_id": "other"}), loss=9.0, grad_norm=None)
    reporter.flush()

    assert not [event for event in told if isinstance(event, Notice)]
