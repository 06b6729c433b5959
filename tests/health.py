"""A working directory with checkpoints, for tests of what looks at one."""

import os
from pathlib import Path
from typing import Any

from daemon.files.identity import identity_of
from daemon.health.check_result import CheckResult, Severity
from daemon.health.health_check import examine
from daemon.ledger.ledger import Ledger
from daemon.status.reader import read_status
from tests.support import FakeClock, job_for
from trainer.config.schema import Settings
from trainer.data.plan import Plan
from trainer.protocol.files import file_sha256, write_json
from trainer.protocol.forgetting import ORDER_FILE, SCRATCH, Erased, OrderHeader, write_order
from trainer.protocol.job import Cursor, Job, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import (
    CHECKSUM,
    MANIFEST_NAME,
    Consolidation,
    FileEntry,
    Manifest,
    Progress,
    checksum,
)
from trainer.protocol.text import utc_text

NOW = 1_800_000_000.0


def publish(
    layout: Layout, sequence: int, *, step: int = 0, progress: Progress | None = None, **facts: Any
) -> Path:
    """Publish a checkpoint with two small files and make it the current one."""
    progress = progress or Progress(global_step=step)
    path = layout.models / "checkpoints" / f"step-{progress.global_step:09d}-{sequence}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (path / name).write_bytes(f"{name} of {sequence}".encode() * 100)
    files = {
        file.name: FileEntry(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in sorted(path.iterdir())
    }
    known: dict[str, Any] = {
        "base_model": "tiny",
        "method": "full",
        "parent": None,
        "versions": {},
        "written_at": utc_text(NOW - 3600),
    }
    manifest = Manifest(**(known | facts), sequence=sequence, progress=progress, files=files)
    write_manifest(path, manifest.model_dump(mode="json"))
    pointer = layout.models / "current_model"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(os.path.join("checkpoints", path.name))
    return path


def merge_into(
    base: str, *, step: int = 1, merged: str = "step-000000001", kept_as: str = "v001"
) -> Consolidation:
    """Return the merge of a checkpoint's adapter, at a step, that made a base model in `models/bases/`."""
    return Consolidation(
        at="2026-01-01T00:00:00.000Z",
        global_step=step,
        base=f"bases/{base}",
        base_sha256="0" * 64,
        merged=merged,
        kept_as=kept_as,
        max_difference=0.0,
    )


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """Write the manifest of the checkpoint in `path`, with its checksum."""
    write_json(path / MANIFEST_NAME, content | {CHECKSUM: checksum(content)}, durable=False)


def damage(path: Path) -> None:
    """Change a byte of a checkpoint; its size stays."""
    file = path / "model.safetensors"
    file.write_bytes(b"X" + file.read_bytes()[1:])


def shorten(path: Path) -> None:
    """Cut a file of a checkpoint."""
    os.truncate(path / "model.safetensors", 10)


def plan_of(job: Job, settings: Settings) -> Plan:
    """Return the plan by which a job is trained."""
    training = settings.training
    return Plan(
        sha256=job.sha256,
        num_rows=job.rows,
        rows_per_step=training.batch_size * training.gradient_accumulation,
        epochs=training.epochs,
        seed=training.seed,
    )


def cursor_of(job: Job, settings: Settings, *, step: int) -> Cursor:
    """Return how far a job has been trained."""
    return Cursor(
        job_id=job.id,
        name=job.name,
        sha256=job.sha256,
        plan=plan_of(job, settings).fingerprint,
        step=step,
        rows_trained=step,
        settings=settings.model_dump(mode="json"),
    )


def begin_to_forget(layout: Layout, name: str = "leak.jsonl") -> None:
    """Leave what a forgetting leaves that a stop has ended."""
    header = OrderHeader(
        sha256="6335b439f31c77", reason="asked for", newest="step-000000005", base=None, base_branch=0,
        base_step=0, is_trained=True, settings={}, erased=Erased(names=(name,)),
    )  # fmt: skip
    layout.models.mkdir(exist_ok=True)
    write_order(layout.models / SCRATCH / ORDER_FILE, header, [])


def note_jobs(layout: Layout, *known: tuple[Path, Priority]) -> list[Job]:
    """Write a ledger of the files, which arrived in this order; those in processing/ were begun in it."""
    ledger = Ledger(layout.ledger_file, clock=FakeClock(NOW - 3600))
    jobs = []
    for number, (path, priority) in enumerate(known):
        job = job_for(path, id=f"20260101-000000-00000{number}", priority=priority)
        ledger.add_job(job, identity_of(path.stat()), "waiting")
        if path.parent == layout.processing:
            ledger.note_start(job)
        jobs.append(job)
    ledger.close()
    return jobs


def found(layout: Layout, name: str) -> list[CheckResult]:
    """Return the findings of one name that a whole health check has."""
    return [item for item in examine(layout, read_status(layout), now=NOW) if item.name == name]


def level(layout: Layout, name: str) -> Severity:
    """Return the worst level of the findings of one name."""
    return max((item.level for item in found(layout, name)), key=list(Severity).index)


def tree(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return everything below the working directory with its mode and time of change."""
    found = {}
    for path in sorted(layout.base.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(layout.base))] = (status.st_mode, status.st_mtime_ns)
    return found
