"""What a checkpoint consists of: the files of a model and of its training, and what its manifest says."""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError

from trainer import __version__
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.training_state import write_state
from trainer.config.lock import locked_values
from trainer.config.schema import CheckpointSettings, Settings
from trainer.model.adapter import save_adapter
from trainer.model.loading import save_tokenizer
from trainer.model.training_templates import template_in_use
from trainer.protocol.checkpoints import AVERAGE
from trainer.protocol.manifest import Manifest, Origin, Unlocked
from trainer.protocol.messages import StepReport
from trainer.step.feeding_trainer import FeedingTrainer


def write_checkpoint_files(
    trainer: FeedingTrainer,
    recent_steps: Iterable[StepReport],
    folder: Path,
    *,
    uses_adapter: bool,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Write weights, tokenizer, optimizer and the reports of the last steps; averaged weights in a folder.

    Args:
        tick: called when something has been got done.
    Raises:
        OSError: they cannot be written.
    """
    try:
        # Side by side: memory is copied twice as fast by two cores
        with ThreadPoolExecutor(max_workers=1) as beside:
            state = beside.submit(write_state, trainer, recent_steps, folder)
            _write_model(trainer, folder, uses_adapter=uses_adapter)
            tick()
            if trainer.average:
                with trainer.average.in_place():
                    _write_model(trainer, folder / AVERAGE, uses_adapter=uses_adapter)
                tick()
            state.result()
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError) as error:  # how these libraries report a full disk
        raise OSError(f"the checkpoint cannot be written: {error}; is the disk full?") from error


def _write_model(trainer: FeedingTrainer, folder: Path, *, uses_adapter: bool) -> None:
    """Write what `from_pretrained` needs."""
    if uses_adapter:
        save_adapter(trainer.model, folder)
    else:
        trainer.model.save_pretrained(folder)
    save_tokenizer(trainer.processing_class, folder)


def size_of_average(trainer: FeedingTrainer) -> int:
    """Return what an average adds to a checkpoint, in sizes of the weights."""
    if trainer.average is None:
        return 0
    return 2 if trainer.average.kind == "ema" else 3  # itself, and what it is made of


def retention_of(settings: CheckpointSettings) -> Retention:
    """Return the rules by which settings keep checkpoints."""
    return Retention(
        keep_last=settings.keep_last,
        keep_every=settings.keep_every,
        keep_best=settings.keep_best,
        spine_max_bytes=settings.spine_max_bytes,
        max_bytes=settings.max_bytes,
    )


def origin_of(
    settings: Settings,
    trainer: FeedingTrainer,
    *,
    before: Manifest | None,
    unlocked: Iterable[Unlocked],
    base_sha256: str | None,
) -> Origin:
    """Return what a checkpoint is made with.

    Args:
        before: of the checkpoint that it continues.
        unlocked: changes of locked settings that are permitted.
    """
    as_json = settings.model_dump(mode="json")
    known = before.unlocked if before else ()
    in_use = template_in_use(trainer.processing_class)
    return Origin(
        base_model=settings.model.base_model,
        method=settings.training.method,
        chat_template=settings.model.chat_template,
        chat_template_sha256=in_use.sha256 if in_use else None,
        locked=locked_values(settings),
        branches=before.branches if before else (),
        unlocked=(*known, *(change for change in unlocked if change not in known)),
        consolidations=before.consolidations if before else (),
        base_sha256=base_sha256,
        device=trainer.args.device.type,
        settings=as_json,
        settings_sha256=hashlib.sha256(json.dumps(as_json, sort_keys=True).encode()).hexdigest(),
        versions=library_versions() | {"training-daemon": __version__},
    )


@cache
def library_versions() -> dict[str, str]:
    """Return the releases that this process has loaded, even if others are installed while it runs."""
    return {name: version(name) for name in ("torch", "transformers", "peft")}  # a millisecond each
