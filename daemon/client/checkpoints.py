"""The checkpoints: verify them, say what a restart would do, keep one forever. Loads no weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from daemon.checkpoints.find_checkpoint import NoSuchCheckpoint as Unknown
from daemon.checkpoints.find_checkpoint import find_checkpoint, unpin
from daemon.checkpoints.review import (
    Reviewed,
    Unusable,
    Whole,
    corrupt_names,
    current_name,
    list_checkpoints,
    review,
    review_sizes,
    starting_point,
)
from daemon.client.errors import NoSuchCheckpoint, raising
from daemon.control.next_start import pause_at_start
from trainer.protocol.checkpoints import POINTER, verify
from trainer.protocol.layout import Layout
from trainer.protocol.pins import is_pinned, pin
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.restart import ImpossibleRestart, Restart


@dataclass(frozen=True, kw_only=True)
class WholeCheckpoint:
    """A checkpoint that is what its manifest says."""

    name: str
    """Printable."""
    state: Literal["ok"] = "ok"
    is_current: bool
    """Whether `models/current_model` is this one."""
    is_pinned: bool
    """Whether it is kept forever."""
    global_step: int
    written_at: str
    """UTC, ISO 8601."""
    bytes: int


@dataclass(frozen=True, kw_only=True)
class BrokenCheckpoint:
    """A checkpoint that cannot be used."""

    name: str
    """Printable."""
    state: Literal["damaged", "unusable"]
    """damaged: the next start quarantines it and takes the one before. unusable: this release cannot judge
    it, so the next start is blocked."""
    is_current: bool
    is_pinned: bool
    reason: str


@dataclass(frozen=True)
class Verification:
    """All checkpoints, newest first, and what follows from them."""

    checkpoints: tuple[WholeCheckpoint | BrokenCheckpoint, ...]
    restart: "Restart | ImpossibleRestart"


class Checkpoints:
    """The checkpoints of one working directory, beside a worker that may publish and remove some."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def current_model(self) -> Path:
        """Return the folder of the newest checkpoint, which `from_pretrained` loads.

        Raises:
            NoSuchCheckpoint: there is none yet.
        """
        path = self._layout.models / POINTER
        if not path.is_dir():
            raise NoSuchCheckpoint(
                f"{printable(str(path))} is not there; there is a checkpoint as soon as a file has been "
                "trained: training_controller status shows how far that is"
            )
        return path.resolve()  # a newer one may take its name while this one is read

    # ---- verify

    def listed(self) -> "tuple[WholeCheckpoint | BrokenCheckpoint, ...]":
        """Return all checkpoints, newest first, judged by the sizes of their files: quickly."""
        return tuple(self.describe(item) for item in review_sizes(self._layout.models))

    def verify_all(self) -> Verification:
        """Read every checkpoint from end to end, and say what a restart would do."""
        reviewed = [item for item in map(self.verify, self.paths()) if item]
        return Verification(tuple(map(self.describe, reviewed)), self.restart(reviewed))

    def paths(self) -> list[Path]:
        """Return all checkpoints, newest first."""
        return list_checkpoints(self._layout.models)

    def verify(self, path: Path) -> Reviewed | None:
        """Read one checkpoint from end to end; None if it has been removed meanwhile."""
        return review(path, verify)

    def describe(self, item: Reviewed) -> WholeCheckpoint | BrokenCheckpoint:
        """Return what a person wants to know of a checkpoint that was verified."""
        name, is_current = printable(item.path.name), item.path.name == current_name(self._layout.models)
        if not isinstance(item, Whole):
            return BrokenCheckpoint(
                name=name,
                state="unusable" if isinstance(item, Unusable) else "damaged",
                is_current=is_current,
                is_pinned=is_pinned(item.path),
                reason=item.reason,
            )
        return WholeCheckpoint(
            name=name,
            is_current=is_current,
            is_pinned=is_pinned(item.path),
            global_step=item.manifest.progress.global_step,
            written_at=item.manifest.written_at,
            bytes=item.manifest.total_bytes,
        )

    # ---- a restart

    def restart(self, reviewed: Sequence[Reviewed]) -> "Restart | ImpossibleRestart":
        """Return what a restart would do.

        Args:
            reviewed: all checkpoints, newest first.
        """
        from daemon.client.restart import restart_from

        start = starting_point(reviewed, has_corrupt=bool(corrupt_names(self._layout.models)))
        return restart_from(self._layout, start)

    @property
    def is_paused(self) -> bool:
        """Whether a restart would stay paused."""
        return pause_at_start(self._layout) is not None

    # ---- pins

    def pin(self, name: str) -> tuple[str, bool]:
        """Keep a checkpoint for ever.

        Args:
            name: of its folder, or `current`.
        Returns:
            Its name, printable, and whether it was not kept already.
        Raises:
            NoSuchCheckpoint: there is none.
        """
        with raising(NoSuchCheckpoint, Unknown):
            path = find_checkpoint(self._layout.models, name)
        return printable(path.name), pin(path)

    def unpin(self, name: str) -> tuple[str, bool]:
        """Leave a checkpoint to the rules for old ones again.

        Args:
            name: of its folder, or `current`.
        Returns:
            Its name, printable, and whether it was pinned.
        Raises:
            NoSuchCheckpoint: neither a checkpoint nor a pin has this name.
        """
        with raising(NoSuchCheckpoint, Unknown):
            found, was_pinned = unpin(self._layout.models, name)
        return printable(found), was_pinned
