"""The files of the queue: list them, add some, move them. Needs no daemon; a running one follows."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.converted_copy import HiddenFile, converted, is_converted, refuse_untrainable
from daemon.client.errors import (
    CannotAdmit,
    ClientError,
    NoSuchPriority,
    NotAdmitted,
    UnreadableHistory,
    WrongPlace,
    raising,
)
from daemon.client.finding import place_of, the_file
from daemon.client.settings import ClientSettings
from daemon.client.started_files import is_in_the_model, make_new, priority_of, without_a_daemon
from daemon.client.trash import (
    Cleared,
    clear,
    clear_lists,
    remove_if_empty,
    trash_folders,
    trashed_file,
    trashed_files,
    with_present_place,
)
from daemon.files.identity import Identity, identity_of
from daemon.files.move_lock import moving
from daemon.files.names import is_training_file
from daemon.files.notes import REASON_SUFFIX, note_beside
from daemon.jobs.listing import (
    CHECKING,
    PROCESSING,
    SAVING,
    UNCHECKED,
    FinishedFile,
    QueuedFile,
    find_named,
    finished_file,
    finished_names,
    is_started,
    queued_files,
)
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.protocol.files import UnreadableFile, move_durably, read_json, rename_durably, verified_copy
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, shell_word, utc_text

if TYPE_CHECKING:
    from daemon.client.outlook import Outlook
    from daemon.status.reader import Status
    from trainer.config.schema import DataSettings

TO_OVERTAKE = (
    "to have another file trained first, make that one more urgent (training_queue set-priority OTHER high), "
    "which helps unless this one is high, too, or daemon.preempt is false"
)
WITHOUT_DAEMON = {CHECKING: UNCHECKED, SAVING: PROCESSING}
"""What a state is while no daemon runs: nobody checks or saves."""


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
    converted_rows: int | None = None
    """Rows that the copy has if it was converted to JSON Lines; None if it is the same as the file."""


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
    trash: int
    """Cleared away from failed/ and skipped/."""
    formats: dict[str, int]
    """Those that wait or are processed, by the format of their rows."""

    @property
    def is_empty(self) -> bool:
        """Whether no file waits or is processed."""
        return not (self.high or self.normal or self.low or self.processing)


class Queue:
    """The queue of one working directory."""

    def __init__(self, layout: Layout, settings: ClientSettings) -> None:
        self._layout = layout
        self._settings = settings

    # ---- what is there

    def files(self) -> list[QueuedFile]:
        """Return the files that wait or are processed, in the order in which they will be trained.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        with raising(UnreadableHistory, UnreadableLedger):
            files = queued_files(self._layout)
        if any(file.state in WITHOUT_DAEMON for file in files) and read_status(self._layout).is_gone:
            return [file._replace(state=WITHOUT_DAEMON.get(file.state, file.state)) for file in files]
        return files

    def finished(
        self, outcomes: Sequence[Outcome], *, limit: int | None = None
    ) -> tuple[list[FinishedFile], int]:
        """Return the files in the folders of these outcomes, each with its reason, and how many there are.

        Args:
            limit: files to return; None for all.
        """
        names = [(outcome, name) for outcome in outcomes for name in finished_names(self._layout, outcome)]
        return [finished_file(self._layout, outcome, name) for outcome, name in names[:limit]], len(names)

    def trashed(self, *, limit: int | None = None) -> tuple[list[FinishedFile], int]:
        """Return the files in the trash, those cleared last first, and how many there are.

        Args:
            limit: files to return; None for all.
        """
        paths = list(trashed_files(self._layout))[::-1]
        return [trashed_file(path) for path in paths[:limit]], len(paths)

    def count_dropped(self) -> int:
        """Return how many files in the inbox have not been accepted yet."""
        from daemon.intake.inbox import count_dropped

        return count_dropped(self._layout.inbox)

    def outlook(self, status: "Status") -> "Outlook":
        """Return how much waits, and how long all of it will probably take.

        Args:
            status: what the daemon does now.
        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.outlook import outlook

        return outlook(self._layout, status)

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
            trash=sum(1 for _ in trashed_files(self._layout)),
            formats=dict(sorted(Counter(file.format for file in files if file.format).items())),
        )

    # ---- files come

    def add(self, file: Path | str, *, priority: Priority | str = Priority.NORMAL) -> AddedFile:
        """Copy a file into the inbox, where it appears whole; a taken name gets a number.

        A table, such as CSV or Parquet, becomes JSON Lines on the way.

        Args:
            priority: also its name, such as "high".
        Raises:
            NoSuchPriority: it is none.
            NotATrainingFile: it is no file, its name is not that of one to be trained, or it cannot be
                converted.
        """
        try:
            known = Priority(priority)
        except ValueError as error:
            raise NoSuchPriority(
                f'"{printable(priority)}" is not a priority; expected one of {", ".join(Priority)}'
            ) from error
        [added] = self.add_all([Path(file)], priority=known)
        return added

    def add_all(self, files: Sequence[Path], *, priority: Priority = Priority.NORMAL) -> list[AddedFile]:
        """Copy files into the inbox as `add` does: all of them, or none if one cannot be meant."""
        files = [file.resolve() if file.name in ("", "..") else file for file in files]  # such as `.`
        folder = self._layout.inbox / priority.value
        tables = [number for number, file in enumerate(files) if is_converted(file)]
        with ExitStack() as hidden:
            # All are converted before the first file appears: only then is it known whether they can be
            ready = {
                number: hidden.enter_context(
                    converted(files[number], folder, self._data_settings(), number=number)
                )
                for number in tables
            }
            for number in tables:
                refuse_untrainable(files[number], self._data_settings())
            return [self._publish(file, priority, ready.get(number)) for number, file in enumerate(files)]

    def unaccepted_place(self, file: Path) -> str | None:
        """Return where in the inbox a file lies that is not accepted, printable; None if it does not."""
        inbox, found = self._layout.inbox.resolve(), file.resolve()
        if is_training_file(found.name) or not found.is_relative_to(inbox):
            return None
        return printable(str(self._layout.inbox.name / found.relative_to(inbox)))

    def ended_place(self, file: Path) -> str | None:
        """Return a file in failed/ or skipped/ as it is typed; None if it lies elsewhere."""
        folders = [self._layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]
        is_ended = file.resolve().parent in [folder.resolve() for folder in folders]
        return shell_word(place_of(file.resolve())) if is_ended else None

    def _publish(self, file: Path, priority: Priority, table: HiddenFile | None) -> AddedFile:
        """Let a file appear in the inbox, copied or converted."""
        if table:
            return self._appear(file, priority, table.path, table.name, rows=table.rows)
        # First under a name that the daemon passes over: once it sees a file, it moves it on at once
        with verified_copy(file.resolve(), self._layout.inbox / priority.value) as hidden:
            return self._appear(file, priority, hidden, file.name)

    def _appear(
        self, file: Path, priority: Priority, hidden: Path, name: str, *, rows: int | None = None
    ) -> AddedFile:
        identity = identity_of(hidden.lstat())
        copy = rename_durably(hidden, self._layout.inbox / priority.value, name)
        return AddedFile(
            file=_shown(file),
            added_as=printable(copy.name),
            priority=priority,
            path=copy,
            identity=identity,
            converted_rows=rows,
        )

    def _data_settings(self) -> "DataSettings":
        return self._settings.effective().settings.data

    # ---- files are moved

    def set_priority(self, name: str, priority: Priority) -> str:
        """Make a waiting file more or less urgent; return its name then, printable.

        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one file that waits is meant.
        """
        path = the_file(self._layout, name, self._waiting_folders(), in_training=TO_OVERTAKE)
        if path.parent != self._layout.waiting(priority):
            path = _move(self._layout, path, self._layout.waiting(priority))
        return printable(path.name)

    def retry(self, name: str, *, must_admit: bool = False, priority: Priority | None = None) -> str:
        """Put a file back that failed or was skipped; return its name then, printable.

        The lists of its rejected rows go to the trash, because its next check writes a new one.

        Args:
            name: of one in the trash, if none of that name lies in failed/ or skipped/.
            must_admit: have it trained whatever its data report says.
            priority: with which it is to wait; None for the one it had.
        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one such file is meant.
            CannotAdmit: nothing can be made of its rows.
        """
        path = self._ended_file(name)
        if must_admit:
            self._admit(path)
        return self._put_all_back([path], priority)[0]

    def retry_all(self, names: Sequence[str]) -> list[str]:
        """Put files back as `retry` does: all of them, or none if one cannot be meant."""
        try:
            paths = dict.fromkeys(map(self._ended_file, names))  # each once, however often it was named
        except ClientError as error:
            undone = "; nothing was retried" if len(names) > 1 else ""
            raise type(error)(f"{error}{undone}") from error
        return self._put_all_back(list(paths))

    def unadmit(self, name: str) -> str:
        """Have the content of a file checked as any other again; return its name, printable.

        A file with this content that was started already stays as it is.

        Args:
            name: of a file in any state, or a job id.
        Raises:
            NoSuchFile, AmbiguousName: no one file is meant.
            NotAdmitted: its content is not admitted.
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.known_file import content_of
        from daemon.jobs.admission import is_admitted, unadmit

        with raising(UnreadableHistory, UnreadableLedger):
            shown, sha256 = content_of(self._layout, name)
        if sha256 is None or not is_admitted(self._layout, sha256):
            raise NotAdmitted(f"the content of {shown} is not admitted, so there is nothing to take back")
        unadmit(self._layout, sha256)
        return shown

    def _ended_file(self, name: str) -> Path:
        folders = [self._layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]
        if not find_named(folders, name):
            folders += trash_folders(self._layout)
        return the_file(self._layout, name, folders)

    def retry_failed(self) -> list[str]:
        """Put every file back that failed; return their names then, printable."""
        folder = self._layout.finished(Outcome.FAILED)
        return self._put_all_back([folder / name for name in finished_names(self._layout, Outcome.FAILED)])

    def clear(self, outcome: Outcome, *, older_than_s: float = 0.0) -> Cleared:
        """Move the files that failed, or those that were skipped, to `queue/.trash/`, with their notes.

        There they stay, unless `disk.queue_trash_kept_s` is set; `retry` puts a file back.

        Args:
            outcome: failed or skipped.
            older_than_s: only files that have been there for longer, in seconds.
        Raises:
            WrongPlace: completed files are kept where they are, because later ones may replay them.
        """
        if outcome is Outcome.COMPLETED:
            raise WrongPlace(
                "queue/recently_completed/ is not cleared, because other files may replay its rows; move "
                "away what you do not need"
            )
        return clear(self._layout, outcome, older_than_s=older_than_s, now=time.time())

    def clear_files(self, names: Sequence[str]) -> dict[Outcome, Cleared]:
        """Move some files that failed or were skipped to `queue/.trash/`, as `clear` does with all.

        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: a name means no one such file; nothing was moved.
            UnreadableHistory: the ledger cannot be read.
        """
        outcomes = self._ended_folders()
        paths = [the_file(self._layout, name, list(outcomes)) for name in names]
        now = time.time()
        return {
            outcome: clear(self._layout, outcome, only=chosen, now=now)
            for folder, outcome in outcomes.items()
            if (chosen := {path.name for path in paths if path.parent == folder})
        }

    def why_not_cleared(self, name: str) -> str | None:
        """Return why `clear_files` would refuse a file, or None."""
        try:
            the_file(self._layout, name, list(self._ended_folders()))
        except ClientError as error:
            return str(error)
        return None

    def _ended_folders(self) -> dict[Path, Outcome]:
        return {self._layout.finished(outcome): outcome for outcome in (Outcome.FAILED, Outcome.SKIPPED)}

    def remove(self, name: str) -> str:
        """Move a waiting file to `queue/skipped/`; return its name then, printable.

        While no daemon runs, one that was started waits, too.

        Raises:
            NoSuchFile, AmbiguousName, WrongPlace: no one file that waits is meant.
            UnreadableHistory: the ledger cannot be read.
        """
        with without_a_daemon(self._layout) as is_alone:
            started = [self._layout.processing] if is_alone else []
            path = the_file(self._layout, name, [*self._waiting_folders(), *started])
            if path.parent == self._layout.processing and is_in_the_model(self._layout, path):
                raise WrongPlace(
                    f"{place_of(path)} is fully trained, and the newest checkpoint contains it; a daemon "
                    "that starts moves it to queue/recently_completed/: training_daemon start"
                )
            return self._remove(path)

    def _remove(self, path: Path) -> str:
        from daemon.jobs.reasons import write_reason

        priority = priority_of(self._layout, path)
        target = _move(self._layout, path, self._layout.finished(Outcome.SKIPPED))
        reason = Reason(
            kind=FaultKind.REQUEST,
            message="removed with training_queue",
            file=printable(target.name),
            at=utc_text(time.time()),
            priority=priority,
        )
        write_reason(target, reason)
        return printable(target.name)

    def _waiting_folders(self) -> list[Path]:
        return [self._layout.waiting(priority) for priority in Priority]

    def _admit(self, path: Path) -> None:
        from daemon.jobs.admission import admit
        from daemon.jobs.reasons import refusal_at_intake

        if path.is_symlink() or not path.is_file():  # reading a pipe would wait for its writer
            raise CannotAdmit(f"{_shown(path)} is not a regular file, so it cannot be admitted; add a copy")
        if refusal := refusal_at_intake(path):
            raise CannotAdmit(
                f"{place_of(path)} cannot be admitted: that is for rows that can be trained but are odd, "
                "and this file was refused as it came in: "
                f"{with_present_place(printable(refusal), path)}; correct the file or the setting, then "
                "retry it without --admit"
            )
        admit(self._layout, path)

    def _put_all_back(self, paths: Sequence[Path], priority: Priority | None = None) -> list[str]:
        clear_lists(self._layout, paths, now=time.time())  # first: a daemon checks each as soon as it is back
        return [self._put_back(path, priority or _priority_in_note(path)) for path in paths]

    def _put_back(self, path: Path, priority: Priority) -> str:
        note = note_beside(path, REASON_SUFFIX)
        make_new(self._layout, path)
        target = _move(self._layout, path, self._layout.waiting(priority))
        note.unlink(missing_ok=True)  # its content stays in the ledger
        remove_if_empty(self._layout, path.parent)
        return printable(target.name)


def _priority_in_note(path: Path) -> Priority:
    try:
        return Priority(read_json(note_beside(path, REASON_SUFFIX))["priority"])
    except (OSError, UnreadableFile, KeyError, TypeError, ValueError):
        return Priority.NORMAL


def _move(layout: Layout, path: Path, folder: Path) -> Path:
    try:
        with moving(layout):
            return move_durably(path, folder)
    except FileNotFoundError as error:
        raise WrongPlace(f"{_shown(path)} has just been taken by the daemon; nothing was changed") from error


def _shown(path: Path) -> str:
    return printable(str(path))
