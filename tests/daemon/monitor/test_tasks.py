"""Acts that take long: one of a kind at a time, and each says how far it is and what came of it."""

import threading

import pytest

from daemon.client.errors import FileRefused
from daemon.monitor.tasks import KEPT, Busy, Tasks
from tests.support import FakeClock, eventually


@pytest.fixture
def tasks():
    return Tasks(clock=FakeClock())


def ended(tasks, task):
    eventually(lambda: tasks.find(task.id).state != "running", timeout_s=10)
    return tasks.find(task.id)


def test_what_came_of_it_can_be_asked_for_later(tasks):
    def act(running):
        running.say("half\n of it")
        return {"answer": 42}

    task = tasks.start("back_up", "make a backup", act, about={"versions": 1})

    found = ended(tasks, task)
    assert (found.state, found.result, found.about) == ("done", {"answer": 42}, {"versions": 1})
    assert "\n" not in found.progress
    assert found.ended_at is not None


@pytest.mark.parametrize(
    "error, said",
    [(FileRefused("no\nway", is_bad_config=False), "no\nway"), (KeyError("x"), "KeyError: 'x'")],
)
def test_why_it_failed_is_said(tasks, error, said):
    def act(running):
        raise error

    found = ended(tasks, tasks.start("back_up", "make a backup", act))

    assert (found.state, found.problem) == ("failed", said)


def test_only_one_of_a_kind_runs(tasks):
    may_end = threading.Event()
    first = tasks.start("compare", "compare v001 with v002", lambda running: may_end.wait())

    with pytest.raises(Busy, match="compare v001 with v002"):
        tasks.start("compare", "another", lambda running: None)
    other = tasks.start("back_up", "make a backup", lambda running: None)

    assert ended(tasks, other).state == "done"
    may_end.set()
    assert ended(tasks, first).state == "done"


class FakeProcess:
    def __init__(self):
        self.killed = threading.Event()

    def kill(self):
        self.killed.set()


@pytest.mark.parametrize("is_early", [True, False])
def test_whoever_cancels_it_ends_its_process_also_one_that_is_about_to_begin(tasks, is_early):
    process, may_begin, has_begun = FakeProcess(), threading.Event(), threading.Event()

    def act(running):
        may_begin.wait()
        running.began(process)
        has_begun.set()
        process.killed.wait()
        raise FileRefused("it was killed", is_bad_config=False)

    task = tasks.start("compare", "compare", act, is_cancellable=True)
    if is_early:
        tasks.cancel(task.id)
        may_begin.set()
    else:
        may_begin.set()
        has_begun.wait()
        tasks.cancel(task.id)

    found = ended(tasks, task)
    assert (found.state, found.problem) == ("cancelled", None)


def test_what_a_daemon_does_is_not_cancelled(tasks):
    may_end = threading.Event()
    task = tasks.start("go_back", "go back", lambda running: may_end.wait())

    tasks.cancel(task.id)
    may_end.set()

    assert ended(tasks, task).state == "done"


def test_only_so_many_are_remembered(tasks):
    for _ in range(KEPT + 3):
        ended(tasks, tasks.start("back_up", "make a backup", lambda running: None))

    assert len(tasks.all()) == KEPT + 1  # those that had ended when the last one began, and that one
