"""The files of the queue: list them, add some, move them. Needs no daemon; a running one follows."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.client.errors import (
    CannotAdmit,
    NotATrainingFile,
    UnreadableHistory,
    WrongPlace,
    raising,
)
from daemon.client.finding import place_of, the_file
from daemon.files.identity import Identity, identity_of
from daemon.files.names import TRAINING_SUFFIXES, is_training_file
from daemon.files.notes import REASON_SUFFIX, note_beside
from daemon.jobs.listing import (
    FinishedFile,
    QueuedFile,
    finished_file,
    finished_names,
    is_started,
    queued_files,
)
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol.files import UnreadableFile, move_durably, read_json, rename_durably, verified_copy
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text

SUFFIXES = " or ".join(TRAINING_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class AddedFile:
    """A file whose copy now lies in the inbox."""

    file: str
    """The one it was copied from; printable."""
    added_as: str
    """The copy's name; printable."""
    priority: Priority
    path: Path
    """Where the copy lay first; the daemon moves it on."""
    identity: Identity
    """By which its job is recognised, wherever it lies."""


@dataclass(frozen=True, kw_only=True)
class FolderCounts:
    """Files in each folder of the queue."""

    high: int
    normal: int
    low: int
    processing: int
    recently_completed: int
    failed: int
    skipped: int
    formats: dict[str, int]
    """Those that wait or are processed, by the format of their rows."""


class Queue:
    """The queue of one working directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    # ---- what is there

    def files(self) -> list[QueuedFile]:
        """Return the files that wait or are processed, in the order in which they will be trained.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        with raising(UnreadableHistory, UnreadableLedger):
            return queued_files(self._layout)

    def finished(
        self, outcomes: Sequence[Outcome], *, limit: int | None = None
    ) -> tuple[list[FinishedFile], int]:
        """Return the files in the folders of these outcomes, each with its reason, and how many there are.

        Args:
            limit: files to return; None for all.
        """
        names = [(outcome, name) for outcome in outcomes for name in finished_names(self._layout, outcome)]
        return [finished_file(self._layout, outcome, name) for outcome, name in names[:limit]], len(names)

    def count_dropped(self) -> int:
        """Return how many files in the inbox have not been accepted yet."""
        from daemon.intake.inbox import find_files

        return sum(is_training_file(path.name) for path in find_files(self._layout.inbox))

    def counts(self) -> FolderCounts:
        """Count the files in each folder.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        files = self.files()
        waiting = Counter(file.priority for file in files if not is_started(file))
        finished = {outcome: len(finished_names(self._layout, outcome)) for outcome in Outcome}
        return FolderCounts(
            high=waiting[Priority.HIGH],
            normal=waiting[Priority.NORMAL],
            low=waiting[Priority.LOW],
            processing=sum(map(is_started, files)),
            recently_completed=finished[Outcome.COMPLETED],
            failed=finished[Outcome.FAILED],
            skipped=finished[Outcome.SKIPPED],
            formats=dict(sorted(Counter(file.format for file in files if file.format).items())),
        )

    # ---- files come

    def add(self, file: Path | str, *, priority: Priority = Priority.NORMAL) -> AddedFile:
        """Copy a file into the inbox, where it appears whole; a taken name gets a number.

        Raises:
            NotATrainingFile: it is no file, or its name is not that of one to be trained.
        """
        [added] = self.add_all([Path(file)], priority=priority)
        return added

    def add_all(self, files: Sequence[Path], *, priority: Priority = Priority.NORMAL) -> list[AddedFile]:
        """Copy files into the inbox as `add` does: all of them, or none if one cannot be meant."""
        for file in files:
            if not file.is_file():
                raise NotATrainingFile(f"{_shown(file)} is not a file; nothing was added")
            if not is_training_file(file.name):
                raise NotATrainingFile(
                    f"{_shown(file)}: expected a name that ends in {SUFFIXES}; nothing was added"
                )
        return [self._add(file, priority) for file in files]

    def _add(self, file: Path, priority: Priority) -> AddedFile:
        folder = self._layout.inbox / priority.value
        # First under a name that the daemon passes over: once it sees a file, it moves it on at once
        with verified_copy(file.resolve(), folder) as hidden:
            identity = identity_of(hidden.lstat())
            copy = rename_durably(hidden, folder, file.name)
        return AddedFile(
            file=_shown(file), added_as=printable(copy.name), priority=priority, path=copy, identity=identity
        )

    # ---- files are moved

    def set_priority(self, name: str, priority: Priority) -> str:
        """Make a waiting file more or less urgent; return its name then, printable.

        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one file that waits is meant.
        """
        path = self._waiting_file(name)
        if path.parent != self._layout.waiting(priority):
            path = _move(path, self._layout.waiting(priority))
        return printable(path.name)

    def retry(self, name: str, *, must_admit: bool = False) -> str:
        """Put a file back that failed or was skipped; return its name then, printable.

        Args:
            must_admit: have it trained whatever its data report says.
        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one such file is meant.
            CannotAdmit: nothing can be made of its rows.
        """
        folders = [self._layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]
        path = the_file(self._layout, name, folders)
        if must_admit:
            self._admit(path)
        return self._put_back(path)

    def retry_failed(self) -> list[str]:
        """Put every file back that failed; return their names then, printable."""
        folder = self._layout.finished(Outcome.FAILED)
        return [self._put_back(folder / name) for name in finished_names(self._layout, Outcome.FAILED)]

    def remove(self, name: str) -> str:
        """Move a waiting file to `queue/skipped/`; return its name then, printable.

        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one file that waits is meant.
        """
        from daemon.jobs.reasons import write_reason

        path = self._waiting_file(name)
        target = _move(path, self._layout.finished(Outcome.SKIPPED))
        reason = Reason(
            kind=FaultKind.REQUEST,
            message="removed with training_queue",
            file=printable(target.name),
            at=utc_text(time.time()),
            priority=Priority(path.parent.name),
        )
        write_reason(target, reason)
        return printable(target.name)

    def _waiting_file(self, name: str) -> Path:
        return the_file(self._layout, name, [self._layout.waiting(priority) for priority in Priority])

    def _admit(self, path: Path) -> None:
        from daemon.jobs.admission import admit
        from daemon.jobs.reasons import refusal_at_intake

        if path.is_symlink() or not path.is_file():  # reading a pipe would wait for its writer
            raise CannotAdmit(f"{_shown(path)} is not a regular file, so it cannot be admitted; add a copy")
        if refusal := refusal_at_intake(path):
            raise CannotAdmit(
                f"{place_of(path)} was refused before its rows were checked, so it cannot be admitted: "
                f"{printable(refusal)}; correct the file or the setting, then retry it without --admit"
            )
        admit(self._layout, path)

    def _put_back(self, path: Path) -> str:
        note = note_beside(path, REASON_SUFFIX)
        try:
            priority = Priority(read_json(note)["priority"])
        except (OSError, UnreadableFile, KeyError, TypeError, ValueError):
            priority = Priority.NORMAL
        target = _move(path, self._layout.waiting(priority))
        note.unlink(missing_ok=True)  # its content stays in the ledger
        return printable(target.name)


def _move(path: Path, folder: Path) -> Path:
    try:
        return move_durably(path, folder)
    except FileNotFoundError as error:
        raise WrongPlace(f"{_shown(path)} has just been taken by the daemon; nothing was changed") from error


def _shown(path: Path) -> str:
    return printable(str(path))
