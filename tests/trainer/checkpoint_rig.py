"""Checkpoints for tests: tiny files instead of a model, and every way to damage one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.checkpoints.retention import Retention
from trainer.checkpoints.store import CheckpointStore, Saving
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.manifest import MANIFEST_NAME, Origin, Progress

FILES = {"model.safetensors": b"weights " * 50, "optimizer.pt": b"moments " * 50, "config.json": b'{"a": 1}'}
EVERY_FILE = [*FILES, MANIFEST_NAME]
TOTAL_BYTES = sum(map(len, FILES.values()))
ORIGIN = Origin(base_model="tiny", method="full", versions={"torch": "2.10"})
KEEP_ALL = Retention(keep_last=1000)

Damage = Callable[[bytes], bytes] | None


def store_in(models: Path) -> CheckpointStore:
    return CheckpointStore(models, clock=lambda: 1_700_000_000.0)


def write_files(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)


def save(
    store: CheckpointStore,
    step: int,
    *,
    write: Callable[[Path], None] = write_files,
    rules: Retention = KEEP_ALL,
    expected_bytes: int = 0,
    background: str = "never",
    origin: Origin = ORIGIN,
    **progress: Any,
) -> Saving:
    """Begin to save a checkpoint of this step."""
    return store.save(
        write,
        origin=Origin.model_validate(origin.model_dump(include=set(Origin.model_fields))),
        progress=Progress(global_step=step, **progress),
        rules=rules,
        expected_bytes=expected_bytes,
        background=background,
    )


def publish(store: CheckpointStore, step: int, **arguments: Any) -> Checkpoint:
    """Save a checkpoint of this step and return it."""
    return save(store, step, **arguments).result()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def steps_in(models: Path) -> list[str]:
    return sorted(path.name for path in (models / "checkpoints").glob("step-*") if path.is_dir())


# ---- damage


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def with_one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


EVERY_DAMAGE: list[Damage] = [None, truncated, zeroed, with_one_bit_flipped]


def damage(path: Path, how: Damage) -> None:
    """Change a file, or remove it if `how` is None."""
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))
