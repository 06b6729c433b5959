"""Working directories as a person meets them: what the status says, and what the ledger holds."""

import os
import sqlite3
import time

from daemon.ledger.ledger import Ledger
from tests.daemon.client.eventful import EVIL, Life, eventful_day
from tests.daemon.ledger.entries import step
from tests.support import FakeClock, rows, write_jsonl
from trainer.protocol.status import DiskSpace, LastError, Memory, State, TrainingStatus
from trainer.protocol.text import utc_text

MANY_STEPS = 1_000_000
GIB = 2**30
NOBODY = 2**22 - 1  # a process number that is not given


def write_status(layout, **fields):
    """Write a status as a daemon that runs now; the test's own process stands for it."""
    known = {"heartbeat_at": utc_text(time.time()), "daemon_pid": os.getpid(), "model_name": "tiny"}
    status = TrainingStatus.model_validate({"status": State.IDLE, **known, **fields})
    partial = layout.logs / "status.partial"
    partial.write_text(status.model_dump_json())
    partial.replace(layout.status_file)


def empty(layout):
    """Nobody has trained here."""


def idle(layout):
    eventful_day(layout)
    write_status(layout, current_step=9, memory=Memory(daemon_rss_bytes=50_000_000))


def training(layout):
    eventful_day(layout)
    life = Life(layout)
    life.step = 9
    life.train("now.jsonl", 40)
    life.close()
    for number in range(30):
        write_jsonl(layout.queue / "normal" / f"waiting-{number}.jsonl", rows(2))
    write_status(
        layout, status=State.TRAINING, current_file="now.jsonl", file_step=20, file_total_steps=40,
        current_step=49, loss=1.25, learning_rate=1e-4, grad_norm=0.5, tokens_per_sec=4000.0, eta_s=75.0,
        disk=DiskSpace(used_bytes=GIB, free_bytes=50 * GIB, growth_bytes_per_hour=1e6, full_in_s=1e6),
    )  # fmt: skip


def paused(layout):
    eventful_day(layout)
    write_status(layout, status=State.PAUSED, status_reason="lunch", current_step=9)


def dead(layout):
    eventful_day(layout)
    die(layout)


def die(layout):
    """Leave the status as a daemon that was killed leaves it."""
    write_status(layout, status=State.TRAINING, daemon_pid=NOBODY, heartbeat_at=utc_text(time.time() - 900))


def not_finite(layout):
    life = Life(layout)
    job = life.job("nan.jsonl")
    values = [2.0, float("nan"), float("inf"), 1.0]
    life.ledger.add_steps([step(n, job_id=job.id, loss=loss) for n, loss in enumerate(values, 1)])
    life.event(
        "loss_not_finite", "the loss of step 2 is nan", level="warning", file="nan.jsonl", global_step=2
    )
    life.close()
    error = LastError(
        error_class="NotFinite", message="loss is nan", file="nan.jsonl", at=utc_text(time.time())
    )
    write_status(layout, status=State.TRAINING, current_file="nan.jsonl", last_error=error, current_step=4)


def disk_full(layout):
    eventful_day(layout)
    alert = "the disk of models/ has 0 B free; free some space"
    write_status(
        layout, status=State.BLOCKED, status_reason=alert, alerts=[alert], current_step=9,
        disk=DiskSpace(used_bytes=GIB, free_bytes=0, growth_bytes_per_hour=1e9, full_in_s=0.0),
    )  # fmt: skip


def many_steps(layout):
    """A ledger with a million steps, which the daemon itself would thin out."""
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    database = sqlite3.connect(layout.ledger_file)
    database.execute(
        "INSERT INTO steps"
        " SELECT value, 'job', value, 8, 500, 300, 2 + value % 97 / 50.0, 1e-4, 0.5, 0.1, 0, 0"
        " FROM (WITH RECURSIVE numbers(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers"
        f" WHERE value < {MANY_STEPS}) SELECT value FROM numbers)"
    )
    database.commit()
    database.close()
    write_status(layout, status=State.TRAINING, current_file="long.jsonl", current_step=MANY_STEPS, loss=2.5)


def evil(layout):
    """Texts that would do harm if they were read as HTML, or are a pain to show."""
    eventful_day(layout)
    script = "<img src=x onerror=\"console.error('harm')\"><script>console.error('harm')</script>"
    for folder in ("normal", "failed", "skipped"):
        write_jsonl(layout.queue / folder / f"{folder} {EVIL[:60].replace(chr(10), ' ')}.jsonl", rows(2))
    write_jsonl(layout.queue / "high" / ("<b onmouseover=console.error(1)>.jsonl"), rows(2))
    write_jsonl(layout.queue / "low" / f"{'long' * 55}.jsonl", rows(2))
    line = "2026-01-01T00:00:00.000Z ERROR " + script
    (layout.logs / "daemon.log").write_text(f"{line}\n  {script}\n")
    error = LastError(error_class=script, message=script, file=EVIL, at=utc_text(time.time()))
    write_status(
        layout, status=State.TRAINING, status_reason=script, current_file=EVIL, model_name=script,
        alerts=[script, "x" * 2_000], last_error=error, current_step=9,
    )  # fmt: skip


STATES = (empty, idle, training, paused, dead, not_finite, disk_full, many_steps, evil)
