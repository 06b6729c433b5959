"""What the client says of versions: a line of a list, and how two differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.protocol.manifest import WhichWeights
from trainer.versions.listing import Summary, has_all_files
from trainer.versions.marks import Marks
from trainer.versions.record import TrainedFile, VersionRecord
from trainer.versions.version import Version


@dataclass(frozen=True, kw_only=True)
class RecordedSuite:
    """How well a suite was answered when a version was made."""

    suite: str
    global_step: int
    """At which it was measured."""
    rows: int
    exact_match: float
    """Share of rows, 0 to 1."""
    loss: float | None


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
    suites: tuple[RecordedSuite, ...]
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
class VersionPage:
    """Versions, the newest first."""

    versions: tuple[VersionLine, ...]
    total: int
    """How many the search means, on all pages."""
    next: str | None
    """After which version the next page begins; None on the last page."""
    damaged: dict[str, str]
    """On the first page: versions that cannot be trusted, with what is wrong."""


@dataclass(frozen=True, kw_only=True)
class VersionDetails:
    """Everything about a version."""

    record: VersionRecord
    place: str
    """Relative to the working directory."""
    has_optimizer_state: bool
    """Whether training can continue from it exactly."""
    has_weights: bool
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    notes: tuple[str, ...]
    """Oldest first."""


@dataclass(frozen=True, kw_only=True)
class VersionDifferences:
    """How two versions differ, as their records say it; nothing is measured."""

    before: str
    after: str
    settings: tuple[SettingDifference, ...]
    files_added: tuple[TrainedFile, ...]
    """On which, or on which steps of it, only the one after was trained."""
    files_missing: tuple[TrainedFile, ...]
    """On which, or on which steps of it, only the one before was trained."""


@dataclass(frozen=True, kw_only=True)
class DeletedVersion:
    """A version in the trash, from where it can be brought back."""

    id: str
    made_at: str
    """UTC, ISO 8601, like the next time."""
    global_step: int
    deleted_at: str | None
    """None where the journal of versions does not say it."""


def page_of(
    lines: Sequence[VersionLine], *, after: str | None, limit: int, search: str, damaged: dict[str, str]
) -> VersionPage:
    """Return a page of versions.

    Args:
        lines: all of them, oldest first.
        after: the last version of the page before; None for the first page.
        search: words that are all in its id, names, notes, or who made it.
    """
    words = search.casefold().split()
    found = [line for line in reversed(lines) if all(word in _searched(line) for word in words)]
    start = 0
    if after is not None:
        start = next((place for place, line in enumerate(found, 1) if line.id == after), len(found))
    page = found[start : start + limit]
    return VersionPage(
        versions=tuple(page),
        total=len(found),
        next=page[-1].id if page and start + limit < len(found) else None,
        damaged=damaged if after is None else {},
    )


def _searched(line: VersionLine) -> str:
    current = ("current",) if line.is_current else ()
    return " ".join((line.id, *current, *line.aliases, *line.tags, *line.notes, line.made_by)).casefold()


def details_of(version: Version) -> VersionDetails:
    """Return everything about a version."""
    return VersionDetails(
        record=version.record,
        place=f"models/versions/{version.id}",
        has_optimizer_state=version.has_optimizer_state,
        has_weights=version.has_weights,
        aliases=version.aliases,
        tags=version.tags,
        notes=version.notes,
    )


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
        suites=tuple(RecordedSuite(**score.model_dump()) for score in summary.suites),
    )
