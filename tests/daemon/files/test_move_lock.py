"""Commands and the daemon move files one after the other: none is lost, none is in two places."""

import fcntl

import pytest

import daemon.client.queue
import daemon.jobs.job_queue
from daemon.client import Client
from tests.daemon.filled_queue import put
from tests.support import rows, write_jsonl
from trainer.protocol.job import Priority


def is_free(layout):
    with layout.moves_lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def watched(layout, monkeypatch):
    """Return a list of whether the lock was free, which grows with each call of a function of a module."""
    seen = []

    def watch(module, name):
        function = getattr(module, name)

        def noted(*arguments):
            seen.append(is_free(layout))
            return function(*arguments)

        monkeypatch.setattr(module, name, noted)
        return seen

    return watch


@pytest.mark.parametrize("command", ["retry", "remove", "set_priority"])
def test_a_command_that_moves_a_file_is_alone(layout, watched, command):
    layout.create()
    folder = layout.failed if command == "retry" else layout.waiting(Priority.NORMAL)
    write_jsonl(folder / "a.jsonl", rows(1))
    seen = watched(daemon.client.queue, "move_durably")
    arguments = [Priority.HIGH] if command == "set_priority" else []

    getattr(Client(layout.base).queue, command)("a.jsonl", *arguments)

    assert seen == [False]
    assert is_free(layout)


def test_a_daemon_that_takes_the_queue_over_is_alone(queue, layout, watched):
    seen = watched(daemon.jobs.job_queue, "finish_half_moves")

    queue.recover()

    assert seen == [False]
    assert is_free(layout)


def test_a_daemon_that_starts_a_file_is_alone(queue, layout, watched):
    put(queue, layout, "a.jsonl", id="1")
    seen = watched(daemon.jobs.job_queue, "move_durably")

    queue.start(queue.next())

    assert seen == [False]
    assert is_free(layout)


def test_a_file_that_a_command_moves_first_is_not_started_where_it_was(queue, layout, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    job = queue.next()

    Client(layout.base).queue.set_priority("a.jsonl", Priority.HIGH)

    assert queue.start(job) is None
    assert [path.parent.name for path in layout.queue.rglob("a.jsonl")] == ["high"]
