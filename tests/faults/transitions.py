"""Whole transitions of files, to be interrupted at any system call."""

import ctypes
import json
import sqlite3
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from daemon.files.identity import identity_of
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from tests.support import job_for
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.store import CheckpointStore
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Origin, Progress

PR_SET_PTRACER = 0x59616D61
ANY = -1
KEEP_TWO = Retention(keep_last=2)

Transition = Callable[[], None]


def run(prepare: Callable[[Path], Transition], base: Path, connection: Connection) -> None:
    """Prepare a transition, wait for the word to go, and make it; exit 3 where the disk has let it down."""
    transition = prepare(base)
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY)  # else only our parent might look at our system calls
    connection.send("ready")
    connection.recv()
    try:
        transition()
    except (OSError, sqlite3.Error):
        sys.exit(3)


def queue_one_file(base: Path) -> Transition:
    """Have the file of `base` begun, and put away as failed, with the reason beside it."""
    layout = Layout(base)
    ledger = Ledger(layout.ledger_file, clock=lambda: 1e9)
    queue = JobQueue(layout, ledger, Journal([]))
    queue.recover()
    path = layout.waiting(Priority.NORMAL) / "a.jsonl"
    queue.add(job_for(path), path, identity_of(path.lstat()))
    ledger.commit()
    job = queue.next()
    assert job
    record = JobRecord(job_id=job.id, sha256=job.sha256, outcome=Outcome.FAILED, rows_trained=2, steps=2)
    reason = Reason(kind=FaultKind.CRASH, message="it crashed", file=job.name, at="now", job_id=job.id)

    def transition() -> None:
        started = queue.start(job)
        assert started
        ledger.start_attempt(job.id)
        queue.finish([Ending(job=started[0], outcome=Outcome.FAILED, record=record, reason=reason)])
        ledger.close()

    return transition


def note_a_job(base: Path) -> Transition:
    """Note a job; should the disk fail, try once more to make it durable, as the daemon's next turn does."""
    layout = Layout(base)
    ledger = Ledger(layout.ledger_file, clock=lambda: 1e9)
    path = layout.waiting(Priority.NORMAL) / "a.jsonl"

    def transition() -> None:
        ledger.add_job(job_for(path), identity_of(path.lstat()), "waiting")
        try:
            ledger.commit()
        except sqlite3.Error:
            ledger.commit()

    return transition


def save_checkpoint(store: CheckpointStore, step: int) -> None:
    """Publish a checkpoint whose files can be told by its step."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"%d" % step * 1000)
        (folder / "state").mkdir()
        (folder / "state" / "optimizer.json").write_text(json.dumps(step))

    store.save(
        write,
        origin=Origin(base_model="tiny", method="full", versions={}),
        progress=Progress(global_step=step),
        rules=KEEP_TWO,
    )


def publish_third_checkpoint(base: Path) -> Transition:
    """Publish a checkpoint and let the oldest of three go; `base` is a models folder with two."""
    store = CheckpointStore(base)
    store.newest_verified()
    return lambda: save_checkpoint(store, 3)
