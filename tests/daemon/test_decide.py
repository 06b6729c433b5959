"""The daemon's next act, over all situations."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.decide import (
    ActOnModel,
    DismissWorker,
    GiveJob,
    Leave,
    Preempt,
    PrepareNext,
    SayQueueIsEmpty,
    Situation,
    StartWorker,
    Stopping,
    Wait,
    next_decision,
)
from daemon.supervision.worker_state import Absent, Busy, Loading, Ready, ShuttingDown
from trainer.protocol.job import Priority

NOW = 50.0
KNOWS = Ready(knows_queue_is_empty=True)
BUSY = Busy("a", Priority.LOW)
STOP_AFTER_FILE = DismissWorker("asked to stop after the current file")
STOP_NOW = DismissWorker("asked to stop at the next step")
PREPARED = replace(BUSY, prepared_job="b")


def situation(worker, **facts):
    usual = {
        "worker": worker,
        "paused": False,
        "stopping": None,
        "next_job": None,
        "upcoming_job": None,
        "upcoming_priority": None,
        "preempt": True,
        "drain": False,
        "is_obstructed": False,
        "act": None,
        "is_quiet": True,
    }
    return Situation(**(usual | facts))


@pytest.mark.parametrize(
    "case, expected",
    [
        # no worker
        (situation(Absent()), Wait()),
        (situation(Absent(), next_job="a"), StartWorker()),
        (situation(Absent(NOW), next_job="a"), StartWorker()),
        (situation(Absent(NOW + 0.1), next_job="a"), Wait(NOW + 0.1)),
        (situation(Absent(), next_job="a", paused=True), Wait()),
        (situation(Absent(), next_job="a", is_obstructed=True), Wait()),
        (situation(Absent(), next_job="a", is_obstructed=True, stopping=Stopping.NOW), Leave()),
        (situation(Absent(), next_job="a", stopping=Stopping.NOW), Leave()),
        (situation(Absent(), next_job="a", stopping=Stopping.AFTER_FILE), Leave()),
        (situation(Absent(NOW + 9), next_job="a", stopping=Stopping.AFTER_FILE), Leave()),
        (situation(Absent(), drain=True), Leave()),
        (situation(Absent(), drain=True, is_quiet=False), Wait()),
        (situation(Absent(), drain=True, next_job="a"), StartWorker()),
        (situation(Absent(), drain=True, next_job="a", paused=True), Wait()),
        # the worker loads
        (situation(Loading(), next_job="a"), Wait()),
        (situation(Loading(), next_job="a", paused=True), Wait()),
        (situation(Loading(), drain=True), Wait()),
        (
            situation(Loading(), stopping=Stopping.AFTER_FILE),
            DismissWorker("asked to stop before training starts"),
        ),
        (situation(Loading(), stopping=Stopping.NOW), STOP_NOW),
        # the worker is ready
        (situation(Ready(), next_job="a"), GiveJob("a")),
        (situation(Ready(), next_job="a", paused=True), Wait()),
        (situation(Ready(), next_job="a", is_obstructed=True), Wait()),
        (situation(Ready()), SayQueueIsEmpty()),
        (situation(Ready(), paused=True), SayQueueIsEmpty()),
        (situation(KNOWS), Wait()),
        (situation(KNOWS, next_job="a"), GiveJob("a")),
        (
            situation(Ready(must_restart=True), next_job="a"),
            DismissWorker("the settings of the model have changed"),
        ),
        (situation(KNOWS, drain=True), DismissWorker("everything is trained")),
        (situation(Ready(), drain=True), SayQueueIsEmpty()),
        (situation(KNOWS, drain=True, is_quiet=False), Wait()),
        (
            situation(Ready(), next_job="a", stopping=Stopping.AFTER_FILE),
            STOP_AFTER_FILE,
        ),
        # the worker has a job
        (situation(BUSY, next_job="a"), Wait()),
        (situation(BUSY, next_job="a", upcoming_job="b"), PrepareNext("b")),
        (situation(PREPARED, next_job="a", upcoming_job="b"), Wait()),
        (situation(PREPARED, next_job="a", upcoming_job="c"), PrepareNext("c")),
        (situation(BUSY, next_job="a", upcoming_job="b", stopping=Stopping.AFTER_FILE), Wait()),
        (
            situation(BUSY, next_job="a", stopping=Stopping.NOW),
            STOP_NOW,
        ),
        (situation(BUSY, next_job="a", drain=True), Wait()),
        (situation(BUSY, next_job="a", paused=True), Wait()),
        # a held file would never come to its end
        (
            situation(BUSY, next_job="a", paused=True, stopping=Stopping.AFTER_FILE),
            STOP_AFTER_FILE,
        ),
        # the worker leaves
        (situation(ShuttingDown(), next_job="a"), Wait()),
        (situation(ShuttingDown(), next_job="a", stopping=Stopping.NOW), Wait()),
        (situation(ShuttingDown(), drain=True), Wait()),
    ],
)
def test_every_situation_has_its_one_act(case, expected):
    assert next_decision(case, now=NOW) == expected


JOBS = st.none() | st.sampled_from(["a", "b"])
WORKERS = st.one_of(
    st.builds(Absent, st.sampled_from([0.0, NOW, NOW + 1])),
    st.just(Loading()),
    st.builds(Ready, st.booleans(), st.booleans()),
    st.builds(Busy, st.just("a"), st.sampled_from(Priority), JOBS, st.booleans()),
    st.just(ShuttingDown()),
)
SITUATIONS = st.builds(
    Situation,
    worker=WORKERS,
    paused=st.booleans(),
    stopping=st.none() | st.sampled_from(list(Stopping)),
    next_job=JOBS,
    upcoming_job=JOBS,
    upcoming_priority=st.none() | st.sampled_from(Priority),
    preempt=st.booleans(),
    drain=st.booleans(),
    is_obstructed=st.booleans(),
    is_quiet=st.booleans(),
)


@pytest.mark.parametrize("current", Priority)
@pytest.mark.parametrize("upcoming", Priority)
def test_only_a_strictly_more_urgent_file_takes_over(current, upcoming):
    case = situation(Busy("a", current), next_job="a", upcoming_job="b", upcoming_priority=upcoming)

    decision = next_decision(case, now=NOW)

    takes_over = (upcoming, current) in [
        (Priority.HIGH, Priority.NORMAL),
        (Priority.HIGH, Priority.LOW),
        (Priority.NORMAL, Priority.LOW),
    ]
    assert decision == (Preempt("a") if takes_over else PrepareNext("b"))


@pytest.mark.parametrize(
    "hindrance",
    [
        {"preempt": False},
        {"paused": True},
        {"stopping": Stopping.AFTER_FILE},
        {"stopping": Stopping.NOW},
        {"worker": replace(PREPARED, is_being_preempted=True)},
        {"upcoming_job": None, "upcoming_priority": None},
    ],
    ids=str,
)
def test_nothing_takes_over_when_it_may_not_or_was_asked_for_already(hindrance):
    usual = {
        "worker": PREPARED,
        "next_job": "a",
        "upcoming_job": "b",
        "upcoming_priority": Priority.HIGH,
    }
    before = next_decision(situation(**usual), now=NOW)

    decision = next_decision(situation(**(usual | hindrance)), now=NOW)

    assert before == Preempt("a")
    assert not isinstance(decision, Preempt)


@given(SITUATIONS)
def test_no_work_begins_while_paused_or_stopping_or_obstructed(case):
    decision = next_decision(case, now=NOW)

    if case.paused or case.stopping or case.is_obstructed:
        assert not isinstance(decision, GiveJob | StartWorker)


@given(SITUATIONS)
def test_the_daemon_leaves_only_without_a_worker_and_for_a_reason(case):
    decision = next_decision(case, now=NOW)

    if isinstance(decision, Leave):
        assert isinstance(case.worker, Absent)
        assert case.stopping or case.drain


@given(SITUATIONS)
def test_nothing_is_left_behind_by_a_daemon_that_drains(case):
    decision = next_decision(case, now=NOW)

    if isinstance(decision, Leave) and not case.stopping:
        assert case.next_job is None
        assert case.is_quiet


@given(SITUATIONS)
def test_a_worker_gets_only_what_its_state_allows(case):
    decision = next_decision(case, now=NOW)

    match decision:
        case GiveJob() | SayQueueIsEmpty():
            assert isinstance(case.worker, Ready)
        case PrepareNext() | Preempt():
            assert isinstance(case.worker, Busy)
        case StartWorker():
            assert isinstance(case.worker, Absent)
        case DismissWorker():
            assert isinstance(case.worker, Loading | Ready | Busy)


@given(SITUATIONS)
def test_a_wait_with_an_end_ends_in_the_future(case):
    decision = next_decision(case, now=NOW)

    if isinstance(decision, Wait) and decision.until is not None:
        assert decision.until > NOW


# ---- going back


@pytest.mark.parametrize("worker", [Loading(), KNOWS, BUSY])
def test_a_worker_is_dismissed_before_the_model_goes_back(worker):
    decision = next_decision(situation(worker, act="the model goes back", next_job="b", paused=True), now=NOW)

    assert decision == DismissWorker("the model goes back")


def test_no_worker_is_started_before_the_model_is_back_not_even_to_leave():
    waiting = situation(Absent(0.0), act="the model goes back", next_job="b", stopping=Stopping.NOW)

    assert next_decision(waiting, now=NOW) == ActOnModel()
    assert next_decision(situation(ShuttingDown(), act="the model goes back"), now=NOW) == Wait()
