"""Fill a queue, empty it, and read what the ledger says of it."""

from daemon.files.identity import identity_of
from daemon.jobs.job_queue import Ending
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import Outcome, Priority


def put(queue, layout, name, *, id, priority=Priority.NORMAL):
    """Take a checked file in, as the intake does."""
    path = write_jsonl(layout.waiting(priority) / name, [*rows(2), {"id": id}])
    job = job_for(path, id=id, priority=priority)
    queue.add(job, path, identity_of(path.lstat()))
    return path


def order_of(queue):
    """Return the names in the order in which they would be trained."""
    names = []
    while job := queue.next():
        begun, _ = queue.start(job)
        names.append(begun.name)
        queue.finish([Ending(job=begun, outcome=Outcome.COMPLETED)])
    return names


def events(ledger, kind):
    """Return the messages of a kind."""
    return [row["message"] for row in ledger._database.read("SELECT * FROM events WHERE kind=?", (kind,))]


def states(ledger):
    """Return the state of every job by its id."""
    return {row["id"]: row["state"] for row in ledger._database.read("SELECT * FROM jobs")}
