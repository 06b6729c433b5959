"""A day in the life of a model, for tests of its report: files that trained, failed and were undone."""

import time

from daemon.files.identity import identity_of
from daemon.jobs.reasons import write_reason
from daemon.ledger.crash_rows import Crash
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Reason
from trainer.protocol.messages import Validated
from trainer.protocol.text import utc_text

NOW = time.time()
"""Versions are made by the clock on the wall."""
HOUR = 3600.0
EVIL = (
    f"b <script>alert(1)<\N{FRACTION SLASH}script> \x1b[31m\n\N{RIGHT-TO-LEFT OVERRIDE}{'日本語' * 9}.jsonl"
)


class Life:
    """Writes the ledger as a daemon would, at times of the test's choice."""

    def __init__(self, layout):
        self.layout = layout
        self.clock = FakeClock(NOW)
        self.ledger = Ledger(layout.ledger_file, clock=self.clock)
        self.step = 0
        self.jobs = 0

    def at(self, hours_ago):
        self.clock.now = NOW - hours_ago * HOUR
        return self

    def event(self, kind, message="", *, level="info", **data):
        self.ledger.add_event(kind, message or kind, data=data, level=level)

    def job(self, name, outcome=Outcome.COMPLETED):
        self.jobs += 1
        path = write_jsonl(self.layout.finished(outcome) / name, rows(2, start=10 * self.jobs))
        job = job_for(path, id=f"20260101-000000-{self.jobs:06}")
        self.ledger.add_job(job, identity_of(path.stat()), "processing")
        return job

    def train(self, name, steps, *, loss=1.0):
        """Train a file to its end, and save."""
        job = self.job(name)
        self.ledger.add_steps(
            [
                step(self.step + number, job_id=job.id, file_step=number, loss=loss / number)
                for number in range(1, steps + 1)
            ]
        )
        self.step += steps
        record = JobRecord(
            job_id=job.id, sha256="", outcome=Outcome.COMPLETED, rows_trained=steps, steps=steps
        )
        self.ledger.finish_job(job, "completed", record, None)
        self.event("checkpoint", path=f"checkpoints/step-{self.step:09}", global_step=self.step)
        return job

    def fail(self, name, message):
        job = self.job(name, Outcome.FAILED)
        reason = Reason(
            kind=FaultKind.BAD_DATA, message=message, file=name, at=utc_text(self.clock.now), job_id=job.id
        )
        write_reason(self.layout.failed / name, reason)
        self.ledger.finish_job(job, "failed", None, reason)

    def validate(self, loss, **of_average):
        self.ledger.add_validation(Validated(global_step=self.step, loss=loss, rows=4, **of_average))

    def crash(self, message, kind=FaultKind.HANG):
        self.ledger.add_crash(
            Crash(
                kind=kind, message=message, details=None, job_id=None, display=None,
                global_step=None, file_step=None,
            )
        )  # fmt: skip

    def publish(self, sequence, **facts):
        facts = {"step": self.step, "written_at": utc_text(self.clock.now)} | facts
        return publish(self.layout, sequence, **facts)

    def close(self):
        self.ledger.close()


def eventful_day(layout):
    """Write it: yesterday one file; today two, of which one has a dreadful name, and much that went wrong."""
    life = Life(layout)
    life.at(48).train("yesterday.jsonl", 4)
    life.validate(2.0)
    life.at(30).event("daemon_started", pid=1)
    life.at(20).event("daemon_started", pid=2)
    life.event("daemon_started", pid=3)
    life.at(5).train("chat.jsonl", 3, loss=0.9)
    life.validate(1.5)
    life.at(4).fail(EVIL, "line 1: <b>odd</b> \x1b[2J")
    life.at(3).train(EVIL.replace("b ", "c ", 1), 2)
    life.validate(1.75)
    life.at(2).crash("no progress for 120 s.")
    life.event("notice", "at step 9 the loss jumped to <i>1.7</i>", level="warning")
    life.event(
        "failed", "empty.jsonl: it is empty", level="warning", file="empty.jsonl", reason="it is empty"
    )
    life.event("gate_passed", "chat.jsonl passed", file="chat.jsonl")
    life.at(1).publish(2)
    life.close()
    return life
