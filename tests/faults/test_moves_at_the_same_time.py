"""Commands move files while daemons take the queue over and start files: each file is in one place."""

import random
from contextlib import suppress
from multiprocessing import get_context

import pytest
from filelock import FileLock

from daemon.client import Client
from daemon.client.errors import ClientError
from daemon.files.identity import identity_of
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout

FILES, MOVERS, COMMANDS, STARTS = 30, 3, 300, 20


def move_files(base, seed):
    chance = random.Random(seed)
    queue = Client(base).queue
    for _ in range(COMMANDS):
        name = f"{chance.randrange(FILES)}.jsonl"
        with suppress(ClientError):  # it is elsewhere, or has just been moved
            match chance.randrange(4):
                case 0:
                    queue.retry(name)
                case 1:
                    queue.remove(name)
                case _:
                    queue.set_priority(name, chance.choice(list(Priority)))


def add_what_waits(queue, paths, numbers):
    for path in paths:
        with suppress(FileNotFoundError):
            job = job_for(path, id=f"{next(numbers):06}", priority=Priority(path.parent.name))
            queue.add(job, path, identity_of(path.lstat()))


def take_over_and_start(layout, numbers):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    queue = JobQueue(layout, ledger, Journal([]))
    add_what_waits(queue, queue.recover(), numbers)
    for _ in range(STARTS):
        if (job := queue.next()) and (started := queue.start(job)):
            queue.finish([Ending(job=started[0], outcome=Outcome.SKIPPED)])
        add_what_waits(queue, queue.look(), numbers)
    ledger.close()


@pytest.mark.long
def test_each_file_is_in_one_place_whoever_moves_it(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    paths = [layout.waiting(Priority.NORMAL) / f"{number}.jsonl" for number in range(FILES)]
    wanted = [write_jsonl(path, rows(2, start=10 * i)).stat().st_ino for i, path in enumerate(paths)]
    context = get_context("spawn")
    movers = [context.Process(target=move_files, args=(layout.base, seed)) for seed in range(MOVERS)]
    numbers = iter(range(1_000_000))
    with FileLock(layout.lock_file):  # as a daemon does, so that no command moves a file that was started
        for mover in movers:
            mover.start()
        while any(mover.is_alive() for mover in movers):
            take_over_and_start(layout, numbers)

    assert [mover.exitcode for mover in movers] == [0] * MOVERS
    assert sorted(path.stat().st_ino for path in layout.queue.rglob("*.jsonl")) == sorted(wanted)
