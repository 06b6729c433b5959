"""Train the same files in the same order without any interruption, for comparison.

    python -m tests.crash.replay DIR REFERENCE

The order is read from DIR's ledger: which step of which file was the model's first, second, …, and which
earlier files it replayed. They are taken again in one go in REFERENCE, a folder of its own. Prints the digest
of what was learned in either.
"""

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trainer.checkpoints.tensor_tree import load_tree
from trainer.config.loader import load_settings
from trainer.config.schema import PreviewSettings
from trainer.protocol.job import EarlierFile, Job, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.messages import Command, PreemptJob, QueueEmpty, ShutDown, StartJob
from trainer.session.engine import TrainerEngine


@dataclass(frozen=True)
class Stretch:
    """Steps of one job that followed each other."""

    job_id: str
    last_step: int
    """As the job counts them, from 1."""


def stretches(layout: Layout) -> list[Stretch]:
    """Return the order in which the model took its steps."""
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    steps = database.execute("SELECT job_id, file_step FROM steps ORDER BY global_step").fetchall()
    database.close()
    return [
        Stretch(job_id, list(group)[-1][1]) for job_id, group in groupby(steps, key=lambda step: str(step[0]))
    ]


def jobs(layout: Layout) -> dict[str, tuple[Job, Path]]:
    """Return every job with its file."""
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    found = {}
    folders = {"completed": "recently_completed", "skipped": "skipped"}
    for row in database.execute("SELECT * FROM jobs WHERE state IN ('completed', 'skipped')"):
        job = Job(
            id=row["id"],
            name=row["display"],
            priority=Priority(row["priority"]),
            sha256=row["sha256"],
            rows=row["rows"],
            size_bytes=row["size_bytes"],
            rejected_lines=tuple(json.loads(row["rejected"])),
        )
        found[job.id] = (job, layout.queue / folders[row["state"]] / job.name)
    database.close()
    return found


def replayed_files(layout: Layout) -> dict[str, tuple[EarlierFile, ...]]:
    """Return what every job was to replay."""
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    found = database.execute("SELECT id, replayed FROM jobs WHERE replayed IS NOT NULL").fetchall()
    database.close()
    return {
        job_id: tuple(EarlierFile.model_validate(file) for file in json.loads(files))
        for job_id, files in found
    }


class Replay:
    """The commands that lead to the same order: each job is preempted where it was."""

    def __init__(self, layout: Layout, engine: TrainerEngine, settings: dict[str, Any]) -> None:
        self._engine = engine
        self._known = jobs(layout)
        self._replayed = replayed_files(layout)
        self._shelf = tempfile.TemporaryDirectory()
        for job_id, (_, path) in self._known.items():
            shutil.copyfile(path, Path(self._shelf.name, job_id))
        self._settings = settings
        self._left = deque(stretches(layout))
        self._current: Stretch | None = None

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s == 0:
            return self._between_steps()
        if timeout_s is not None:
            return None
        if not self._left:
            self._left.append(Stretch("", 0))
            return QueueEmpty()
        stretch = self._left.popleft()
        if not stretch.job_id:
            return ShutDown(reason="everything is replayed")
        self._current = stretch
        job, path = self._known[stretch.job_id]
        return StartJob(
            job=job,
            path=str(path),
            settings=self._settings,
            replayed=self._replayed.get(job.id, ()),
            replay_folder=self._shelf.name,
        )

    def _between_steps(self) -> Command | None:
        if self._current is None:
            return None
        job_id = self._current.job_id
        cursor = self._engine.progress.cursors.get(job_id)
        if cursor is None or cursor.step < self._current.last_step:
            return None
        self._current = None  # it is told once
        return PreemptJob(job_id=job_id)


def digest(checkpoint: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights, and of everything in the optimizer."""
    [weights] = checkpoint.glob("*model*.safetensors")
    return {
        "weights": _sha256(sorted(load_file(weights).items())),
        "optimizer": _sha256(sorted(_flat(load_tree(checkpoint, "state")["optimizer"]))),
    }


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [item for key, part in value.items() for item in _flat(part, f"{name}/{key}")]
    if isinstance(value, list):
        return [item for key, part in enumerate(value) for item in _flat(part, f"{name}/{key}")]
    return [(name, value)]


def _sha256(named: list[tuple[str, Any]]) -> str:
    result = hashlib.sha256()
    for name, value in named:
        content = value.contiguous().numpy().tobytes() if torch.is_tensor(value) else repr(value).encode()
        result.update(name.encode() + content)
    return result.hexdigest()


def main() -> None:
    """Replay, and print what came of both."""
    layout, reference = Layout(Path(sys.argv[1])), Path(sys.argv[2])
    shutil.rmtree(reference, ignore_errors=True)
    reference.mkdir()
    settings = load_settings(layout.config_file).settings.model_copy(update={"previews": PreviewSettings()})
    engine = TrainerEngine(settings, base_dir=reference)
    engine.load()
    engine.run(Replay(layout, engine, settings.model_dump(mode="json")))
    print(json.dumps([digest(base / "models" / "current_model") for base in (layout.base, reference)]))


if __name__ == "__main__":
    main()
