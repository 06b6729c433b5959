"""What the client says of versions: a line of a list, and how two differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.protocol.manifest import WhichWeights
from trainer.versions.listing import Summary, has_all_files
from trainer.versions.marks import Marks
from trainer.versions.record import SuiteScore


@dataclass(frozen=True, kw_only=True)
class VersionLine:
    """A version as the list shows it."""

    id: str
    made_at: str
    """UTC, ISO 8601."""
    made_by: str
    global_step: int
    branch: int
    parent: str | None
    files: int
    """Trained since its parent."""
    validation_loss: float | None
    validation_weights: WhichWeights | None
    """Whose loss it is: that of the weights after the `last` step, or of their `average`. None where there is
    no loss, and in records of earlier releases."""
    is_current: bool
    """Whether the newest checkpoint has these weights."""
    has_optimizer_state: bool
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    notes: tuple[str, ...]
    """Oldest first."""
    bytes: int
    """Of its files with the optimizer state. They take no room of their own while its checkpoint is kept."""
    suites: tuple[SuiteScore, ...]
    """The newest score of each suite when it was made."""


@dataclass(frozen=True, kw_only=True)
class SettingDifference:
    """A setting whose value differs between two versions."""

    setting: str
    """Its name with dots, such as `training.learning_rate`."""
    before: Any
    """None also where the release knew no such setting."""
    after: Any


@dataclass(frozen=True, kw_only=True)
class FileInVersions:
    """A file, and the versions whose weights were trained on it."""

    name: str
    sha256: str
    versions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeletedVersion:
    """A version in the trash, from where it can be brought back."""

    id: str
    made_at: str
    """UTC, ISO 8601, like the next time."""
    global_step: int
    deleted_at: str | None
    """None where the journal of versions does not say it."""


def line_of(
    summary: Summary, path: Path, current: str | None, aliases: Sequence[str], marks: Marks
) -> VersionLine:
    """Return a version as the list shows it.

    Args:
        current: digest of the files of the newest checkpoint.
    """
    return VersionLine(
        id=summary.id,
        made_at=summary.made_at,
        made_by=summary.made_by,
        global_step=summary.global_step,
        branch=summary.branch,
        parent=summary.parent,
        files=summary.trained,
        validation_loss=summary.validation_loss,
        validation_weights=summary.validation_weights,
        is_current=summary.digest == current,
        has_optimizer_state=has_all_files(path, summary.files),
        aliases=tuple(aliases),
        tags=tuple(sorted(marks.tags.get(summary.id, ()))),
        notes=tuple(marks.notes.get(summary.id, ())),
        bytes=summary.bytes,
        suites=summary.suites,
    )
