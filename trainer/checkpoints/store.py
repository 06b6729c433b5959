"""The checkpoints of one models folder: find the newest, publish another, remove old ones. Knows no torch.

models/.staging/            being written; worth nothing until renamed
models/checkpoints/step-N/  published and immutable
models/current_model        symbolic link to the newest one
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.checkpoints import ram_folder
from trainer.checkpoints.background import WriteOrder, Writer, Written
from trainer.checkpoints.publishing import (
    STAGING,
    next_sequence,
    point_to,
    publish_folder,
    require_room,
    tidy_up,
)
from trainer.checkpoints.retention import Retention
from trainer.protocol.checkpoints import (
    ASIDE_PREFIX,
    FOLDER,
    Checkpoint,
    NoUsableCheckpoint,
    find_newest,
    read_manifest,
)
from trainer.protocol.files import sync_directory
from trainer.protocol.manifest import Manifest, Origin, Progress
from trainer.protocol.text import utc_text

WORTH_A_PROCESS_S = 1.0


class Saving(Protocol):
    """A checkpoint on its way to the disk."""

    def is_done(self) -> bool:
        """Whether `result` returns at once."""
        ...

    def result(self) -> Checkpoint:
        """Return the checkpoint once it is published and durable.

        Raises:
            OSError: it could not be written.
        """
        ...


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is published already."""

    checkpoint: Checkpoint

    def is_done(self) -> bool:
        return True

    def result(self) -> Checkpoint:
        return self.checkpoint


class CheckpointStore:
    """The checkpoints of one models folder. One process writes it at a time.

    Args:
        models: the folder; must exist.
        clock: Unix seconds, for display only.
    """

    def __init__(self, models: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._models = models
        self._folder = models / FOLDER
        self._clock = clock
        self._newest: Checkpoint | None = None
        self._verified: set[str] = set()
        self._seconds_to_write = 0.0
        self._seconds_to_copy = 0.0
        self.notices: list[str] = []
        """What a person should know about, such as a damaged checkpoint that was quarantined."""

    def newest_verified(self) -> Checkpoint | None:
        """Return the newest checkpoint that is what its manifest says; quarantine damaged newer ones.

        Raises:
            NoUsableCheckpoint: some exist, but none verifies. Starting from zero is not ours to decide.
        """
        shutil.rmtree(self._models / STAGING, ignore_errors=True)
        ram_folder.remove(self._models)
        search = find_newest(self._folder)
        for path, error in search.damaged.items():
            aside = self._quarantine(path)
            self.notices.append(f"checkpoint {path.name} is damaged and was renamed {aside.name}: {error}")
        if search.newest is None and (search.damaged or any(self._folder.glob(f"{ASIDE_PREFIX}*"))):
            raise NoUsableCheckpoint(
                f"none of the checkpoints in {self._folder} can be trusted "
                f"({'; '.join(self.notices) or 'all are damaged'}); "
                "restore one from a backup, or move them all away to start from the base model"
            )
        if search.newest:
            self._note(search.newest)
            point_to(self._models, search.newest.path)
        return search.newest

    def save(
        self,
        write: Callable[[Path], None],
        *,
        origin: Origin,
        progress: Progress,
        rules: Retention,
        expected_bytes: int = 0,
        background: str = "never",
    ) -> Saving:
        """Write a checkpoint and make it the current one. Nothing is visible before everything is durable.

        Args:
            write: fills the folder it is given with the model's files; done with it when this returns.
            expected_bytes: a guess at the size, for the first checkpoint.
            background: as `checkpoints.background`.
        Raises:
            NoRoom: it would not fit; nothing was written.
            OSError: it cannot be written.
        """
        if self._newest:
            expected_bytes = self._newest.manifest.total_bytes
        require_room(self._models, rules, expected_bytes=expected_bytes)
        draft = Manifest(
            **origin.model_dump(),
            sequence=next_sequence(self._models),
            parent=self._newest.path.name if self._newest else None,
            written_at=utc_text(self._clock()),
            progress=progress,
            files={},
        )
        # Fresh memory is not faster than the disk everywhere: what was measured decides
        limit_s = max(WORTH_A_PROCESS_S, self._seconds_to_copy)
        pays = background == "always" or (background == "auto" and self._seconds_to_write > limit_s)
        if pays and (folder := ram_folder.create(self._models, room_bytes=expected_bytes)):
            return self._save_beside(write, folder, draft, rules)
        return self._save_here(write, draft, rules)

    def _save_here(self, write: Callable[[Path], None], draft: Manifest, rules: Retention) -> Saving:
        started = time.monotonic()
        staging = self._models / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        try:
            write(staging)
            checkpoint = publish_folder(self._models, staging, draft)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)  # on a full disk others need the room
            raise
        self._note(checkpoint)
        self._tell(tidy_up(self._models, rules, self._verified))
        self._seconds_to_write = time.monotonic() - started
        return Saved(checkpoint)

    def _save_beside(
        self, write: Callable[[Path], None], folder: Path, draft: Manifest, rules: Retention
    ) -> Saving:
        started = time.monotonic()
        try:
            write(folder)
        except BaseException:
            ram_folder.remove(self._models)
            raise
        self._seconds_to_copy = time.monotonic() - started
        order = WriteOrder(
            models=self._models,
            source=folder,
            draft=draft,
            rules=rules,
            verified=sorted(self._verified),
        )
        return _Beside(Writer(order), self)

    def tidy_up(self, rules: Retention) -> None:
        """Remove the checkpoints that the rules do not keep."""
        self._tell(tidy_up(self._models, rules, self._verified))

    def take(self, written: Written) -> Checkpoint:
        """Take note of a checkpoint that another process has published for us."""
        self._tell(written.notice)
        path = self._folder / written.name
        checkpoint = Checkpoint(path, read_manifest(path))
        self._note(checkpoint)
        return checkpoint

    def _tell(self, notice: str | None) -> None:
        if notice:
            self.notices.append(notice)

    def clean_up(self) -> None:
        """Remove what a save that failed has left."""
        shutil.rmtree(self._models / STAGING, ignore_errors=True)
        ram_folder.remove(self._models)

    def _note(self, checkpoint: Checkpoint) -> None:
        self._newest = checkpoint
        self._verified.add(checkpoint.path.name)

    def _quarantine(self, path: Path) -> Path:
        aside, number = path.with_name(f"{ASIDE_PREFIX}{path.name}"), 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{ASIDE_PREFIX}{path.name}-{number}")
        os.rename(path, aside)
        sync_directory(self._folder)
        return aside


class _Beside:
    """A checkpoint that another process writes."""

    def __init__(self, writer: Writer, store: CheckpointStore) -> None:
        self._writer = writer
        self._store = store
        self._checkpoint: Checkpoint | None = None

    def is_done(self) -> bool:
        return self._checkpoint is not None or self._writer.is_done()

    def result(self) -> Checkpoint:
        if self._checkpoint is None:
            try:
                self._checkpoint = self._store.take(self._writer.result())
            finally:
                self._store.clean_up()
        return self._checkpoint
