"""A working directory with checkpoints, versions, caches and trash, for tests of what takes space."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.health import merge_into
from tests.trainer.checkpoint_rig import ORIGIN, publish, store_in
from trainer.disk import cleaning
from trainer.disk.cleaning import clean
from trainer.protocol.disk import CleaningPlan, CleanOrder
from trainer.protocol.layout import Layout
from trainer.versions.registry import Versions
from trainer.versions.version import Version

NOW = 1_700_000_000.0
FREE = 10**9
BIG = 40_960  # bytes; ten blocks
WEIGHTS, STATE = "model.safetensors", "state.safetensors"


class Site:
    """One working directory, and the time."""

    def __init__(self, base: Path) -> None:
        self.layout = Layout(base)
        self.layout.create()
        self.now = NOW
        self.versions = Versions(self.layout.models, clock=lambda: self.now)

    @property
    def models(self) -> Path:
        return self.layout.models

    def checkpoint(self, step: int, **facts: Any) -> Path:
        """Publish a checkpoint with as many bytes of weights as of optimizer state."""

        def write(folder: Path) -> None:
            (folder / WEIGHTS).write_bytes(os.urandom(BIG))
            (folder / STATE).write_bytes(os.urandom(BIG))
            (folder / "state.json").write_text("{}")

        return publish(store_in(self.models), step, write=write, **facts).path

    def base(self, name: str) -> Path:
        """Make a consolidated base model."""
        folder = self.models / "bases" / name
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(os.urandom(BIG))
        return folder

    def version(self, checkpoint: Path) -> Version:
        return self.versions.create(checkpoint, made_by="hand", trained=lambda parent: ())

    def cache(self, name: str, *, used_at: float = NOW) -> Path:
        folder = self.models / "cache"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.tokens"
        path.write_bytes(bytes(BIG))
        os.utime(path, (used_at, used_at))
        return path

    def cleared(self, name: str = "failed-20230101-000000") -> Path:
        folder = self.layout.trash / name
        folder.mkdir(parents=True)
        (folder / "bad.jsonl").write_bytes(bytes(BIG))
        return folder

    def clean(self, **order: Any) -> CleaningPlan:
        known: dict[str, Any] = {
            "base_dir": self.layout.base,
            "wanted_bytes": None,
            "version_trash_kept_s": 0.0,
            "queue_trash_kept_s": None,
        }
        return clean(self.layout, CleanOrder(**(known | order)), clock=lambda: self.now)

    def free_bytes(self) -> int:
        """Return what every file here takes, as `du` counts it: less of it is more free space."""
        stats = {
            (stat.st_dev, stat.st_ino): stat.st_blocks * 512
            for path in self.layout.base.rglob("*")
            if path.is_file() and not path.is_symlink()
            for stat in [path.lstat()]
        }
        return -sum(stats.values())


def beside(base: Path) -> dict[str, Any]:
    """Return what a checkpoint is made with whose adapter lies beside a consolidated base model."""
    step = merge_into(base.name)
    return {"origin": ORIGIN.model_copy(update={"consolidations": (step,)})}


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(cleaning, "_free_bytes", lambda layout: FREE)  # that of the real disk changes
    return Site(tmp_path / "base")


def kinds(plan: CleaningPlan) -> list[tuple[str, str]]:
    return [(act.kind, act.path.rpartition("/")[2]) for act in plan.acts]


def why(plan: CleaningPlan, name: str) -> str:
    [reason] = [left.why for left in plan.left if left.path.endswith(name)]
    return reason
