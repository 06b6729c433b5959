"""A command that moves a file and a daemon that takes the queue over exclude each other.

Without that, each removed one of the two names that the file had for a moment, and it was gone.
"""

import fcntl

import pytest

import daemon.client.queue
import daemon.jobs.job_queue
from daemon.client import Client
from daemon.jobs.half_moves import finish_half_moves
from tests.support import rows, write_jsonl
from trainer.protocol.files import move_durably
from trainer.protocol.job import Priority


def is_free(layout, kind):
    with layout.moves_lock_file.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("command", ["retry", "remove", "set_priority"])
def test_no_queue_is_taken_over_while_a_command_moves_a_file(layout, monkeypatch, command):
    layout.create()
    folder = layout.failed if command == "retry" else layout.waiting(Priority.NORMAL)
    write_jsonl(folder / "a.jsonl", rows(1))
    seen = []

    def move(*arguments):
        seen.append((is_free(layout, fcntl.LOCK_EX), is_free(layout, fcntl.LOCK_SH)))
        return move_durably(*arguments)

    monkeypatch.setattr(daemon.client.queue, "move_durably", move)
    arguments = [Priority.HIGH] if command == "set_priority" else []

    getattr(Client(layout.base).queue, command)("a.jsonl", *arguments)

    assert seen == [(False, True)]  # another command may move a file, too
    assert is_free(layout, fcntl.LOCK_EX)


def test_no_command_moves_a_file_while_a_queue_is_taken_over(queue, layout, monkeypatch):
    seen = []

    def finish(*arguments):
        seen.append(is_free(layout, fcntl.LOCK_SH))
        return finish_half_moves(*arguments)

    monkeypatch.setattr(daemon.jobs.job_queue, "finish_half_moves", finish)

    queue.recover()

    assert seen == [False]
    assert is_free(layout, fcntl.LOCK_EX)
