"""Train the same files in the same order without any interruption, for comparison.

    python -m tests.crash.replay DIR REFERENCE DROPPED

The order is read from DIR's ledger: which step of which file was the model's first, second, …, and which
earlier files it replayed; what the model has gone back over or forgotten is no part of it. They are taken
again in one go in REFERENCE, a folder of its own, from the files that lie in DROPPED. Prints the digest of
what was learned in either.
"""

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trainer.checkpoints.tensor_tree import load_tree
from trainer.config.gate_settings import GateSettings
from trainer.config.loader import load_settings
from trainer.config.schema import PreviewSettings, Settings, ValidationSettings
from trainer.forgetting.retraining import History, Retraining
from trainer.protocol.checkpoints import AVERAGE
from trainer.protocol.forgetting import Item, RetrainedJob, Stretch
from trainer.protocol.job import EarlierFile, Job, Priority
from trainer.protocol.layout import Layout
from trainer.session.engine import TrainerEngine


def stretches(layout: Layout) -> list[Stretch]:
    """Return the order in which the model took its steps: each job waits where it was, but in the end.

    One that was undone in part, and then trained again, was put aside where the model has it.
    """
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    recorded = database.execute(
        "SELECT job_id, first_file_step, first_file_step + last_step - first_step"
        " FROM stretches ORDER BY first_step"
    ).fetchall()
    database.close()
    return list(_with_lives(recorded))


def _with_lives(recorded: list[tuple[str, int, int]]) -> Iterator[Stretch]:
    """Yield a stretch for each recorded one: its job, the first and the last of its steps in its file."""
    lives: dict[str, int] = {}
    for number, (job_id, first, last) in enumerate(recorded):
        lives[job_id] = lives.get(job_id, -1) + (first == 1)
        following = next((other for other in recorded[number + 1 :] if other[0] == job_id), None)
        starts_anew = following is not None and following[1] == 1
        yield Stretch(
            job_id=job_id, life=lives[job_id], until=last, then="is_put_aside" if starts_anew else "waits"
        )


def jobs(layout: Layout, dropped: Path) -> dict[str, tuple[Job, Path]]:
    """Return every job with its file."""
    database = sqlite3.connect(f"file:{layout.ledger_file}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    found = {}
    for row in database.execute("SELECT * FROM jobs WHERE rows"):
        job = Job(
            id=row["id"],
            name=row["display"],
            priority=Priority(row["priority"]),
            sha256=row["sha256"],
            rows=row["rows"],
            size_bytes=row["size_bytes"],
            rejected_lines=tuple(json.loads(row["rejected"])),
        )
        found[job.id] = (job, dropped / job.name)
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


def history(layout: Layout, dropped: Path, shelf: Path) -> History:
    """Return what was trained, with the files on a shelf under the ids of their jobs."""
    replayed = replayed_files(layout)
    items: list[Item] = []
    settings = settings_of(layout).model_dump(mode="json")
    for job_id, (job, path) in jobs(layout, dropped).items():
        shutil.copyfile(path, shelf / job_id)
        items.append(
            RetrainedJob(
                job=job,
                path=str(path),
                frozen={},
                settings=settings,
                replayed=replayed.get(job_id, ()),
            )
        )
    return History([*items, *stretches(layout)])


def settings_of(layout: Layout) -> Settings:
    """Return the settings in force, without what only observes the model."""
    settings = load_settings(layout.config_file).settings
    observers = {"previews": PreviewSettings(), "gate": GateSettings(), "validation": ValidationSettings()}
    return settings.model_copy(update=observers)


def digest(checkpoint: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights, of the whole optimizer, and of the average if there is one."""
    state = load_tree(checkpoint, "state")
    found = {
        "weights": _sha256(_weights(checkpoint)),
        "optimizer": _sha256(sorted(_flat(state["optimizer"]))),
    }
    if "average" in state:
        found["averaged weights"] = _sha256(_weights(checkpoint / AVERAGE))
        found["parts of the average"] = _sha256(sorted(_flat(state["average"])))
    return found


def _weights(folder: Path) -> list[tuple[str, Any]]:
    [file] = folder.glob("*model*.safetensors")
    return sorted(load_file(file).items())


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
    layout, reference, dropped = Layout(Path(sys.argv[1])), *map(Path, sys.argv[2:4])
    shutil.rmtree(reference, ignore_errors=True)
    reference.mkdir()
    engine = TrainerEngine(settings_of(layout), base_dir=reference)
    engine.load()
    with tempfile.TemporaryDirectory() as shelf:
        known = history(layout, dropped, Path(shelf))
        engine.run(Retraining(known, lambda: engine.progress, replay_folder=Path(shelf)))
    print(json.dumps([digest(base / "models" / "current_model") for base in (layout.base, reference)]))


if __name__ == "__main__":
    main()
