"""From a dropped file to a job: follow the folders, claim what is complete, have it checked, queue it."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daemon.files.identity import Identity, identity_of
from daemon.files.kept import KeptFiles
from daemon.files.names import is_temporary, is_training_file
from daemon.intake.checker import Checked, Checker, CheckOrder, NotChecked
from daemon.intake.ignored_files import IgnoredFiles
from daemon.intake.inbox import find_files, folder_without_priority, priority_of
from daemon.intake.settling import Settling
from daemon.intake.watcher import Change, Watcher
from daemon.jobs.job_ids import JobIds
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.reasons import write_reason
from daemon.journal.events import (
    CheckFailed,
    FileAccepted,
    FileCopied,
    FileRefused,
    FileSkipped,
    FolderWithoutPriority,
    IntakeDelayed,
)
from daemon.journal.journal import Journal
from daemon.status.board import StatusBoard
from trainer.config.schema import DataSettings
from trainer.data.checks.file_check import CheckCancelled
from trainer.data.reading.file_kinds import FileKind, what_it_is
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import move_all_durably
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress
from trainer.protocol.text import printable


class Intake:
    """Takes files in.

    Args:
        data: the data settings in force at the moment.
        rescan_s: as in `DaemonSettings`.
    """

    def __init__(
        self,
        layout: Layout,
        queue: JobQueue,
        journal: Journal,
        board: StatusBoard,
        watcher: Watcher,
        checker: Checker,
        settling: Settling,
        ids: JobIds,
        kept: KeptFiles,
        *,
        data: Callable[[], DataSettings],
        rescan_s: float,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._journal = journal
        self._board = board
        self._watcher = watcher
        self._checker = checker
        self._settling = settling
        self._ids = ids
        self._kept = kept
        self._data = data
        self._rescan_s = rescan_s
        self._next_rescan = float("-inf")
        self.refused_files = 0
        """Files that have gone to `failed/` without ever becoming a job."""
        self._leftovers: set[Path] = set()
        self._dropped_as: dict[Path, str] = {}  # the names of files whose names were taken in the queue
        self._named_folders: set[str] = set()  # that set no priority
        self._ignored = IgnoredFiles(layout.base, journal)
        self._waiting_folders = {layout.waiting(priority): priority for priority in Priority}

    @property
    def is_quiet(self) -> bool:
        """No file is settling or being checked."""
        return not len(self._settling) and not len(self._checker)

    @property
    def has_leftovers(self) -> bool:
        """A file that was started is still being checked, so it is not known yet what was trained of it."""
        return any(path.exists() for path in self._leftovers)

    @property
    def current_check(self) -> Path | None:
        """The file being checked."""
        return self._checker.current

    def due_at(self) -> float:
        """Return when `take_in` has something to do on its own, in monotonic seconds."""
        return min(self._next_rescan, self._settling.due_at() or self._next_rescan)

    def take_in(self, now: float, *, unchecked: list[Path] | None = None) -> None:
        """Do whatever can be done at `now` (monotonic seconds).

        Args:
            unchecked: files in the queue that an earlier daemon has not finished checking.
        """
        started = self._remembered_names() if unchecked else set()
        for path in unchecked or []:
            self._settling.notice(path, renamed_in=False, now=now)
            if path.parent == self._layout.processing or path.name in started:
                self._leftovers.add(path)
        changes = self._watcher.drain()
        if changes is None or now >= self._next_rescan:
            self._rescan(now)
        for change in changes or []:
            self._notice(change, now)
        self._claim_settled(now)
        for result in self._checker.results():
            try:
                self._accept(result, now)
            except (OSError, sqlite3.Error) as error:
                self._try_later(result.order.path, error, now)

    def _try_later(self, path: Path, error: Exception, now: float) -> None:
        """The disk or the ledger is at fault, not the file: leave it where it is for a while."""
        self._journal.record(IntakeDelayed(file=path.name, problem=str(error)))
        self._settling.notice(path, renamed_in=False, now=now + self._rescan_s)

    def skip_check(self) -> None:
        """End the check that is running and put its file aside."""
        self._checker.cancel_current()

    # ---- following the folders

    def _rescan(self, now: float) -> None:
        self._next_rescan = now + self._rescan_s
        self._layout.create()
        self._watcher.check_folders()
        ignored: list[Path] = []
        unreadable: list[Path] = []
        for path in find_files(self._layout.inbox, on_unreadable=unreadable.append):
            if is_training_file(path.name):
                self._settling.notice_scanned(path, now=now)
            else:
                ignored.append(path)
        for path in self._queue.look():
            if path not in self._checker:
                self._settling.notice_scanned(path, now=now)
        self._ignored.report(ignored, unreadable)

    def _notice(self, change: Change, now: float) -> None:
        path = change.path
        if path.parent in self._waiting_folders:
            unchecked = self._queue.notice(path)
            if unchecked and unchecked not in self._checker:
                self._settling.notice(unchecked, renamed_in=change.renamed_in, now=now)
        elif self._layout.inbox in path.parents:
            hidden = any(is_temporary(part) for part in path.relative_to(self._layout.inbox).parts)
            if hidden:
                return
            if path.is_dir() and not path.is_symlink():
                self._next_rescan = now  # what came inside a folder raised no event of its own
            elif is_training_file(path.name):
                self._settling.notice(path, renamed_in=change.renamed_in, now=now)

    # ---- claiming

    def _claim_settled(self, now: float) -> None:
        complete, refused = self._settling.settled(now)
        dropped = [path for path in complete if self._layout.inbox in path.parents]
        in_queue = [path for path in complete if path not in dropped]
        try:
            for path in self._claim(_by_age(dropped)):
                failpoint("intake.claimed")
                self._check(path)
        except OSError as error:
            for path in dropped:
                self._try_later(path, error, now)
        for path in _by_age(in_queue):
            # Noticed again: one that was being moved by hand when it was seen first may be known by now
            if path.parent == self._layout.processing or self._queue.notice(path):
                self._check(path)
        for path, reason in refused:
            try:
                self._refuse(path, reason)
            except OSError as error:
                self._try_later(path, error, now)

    def _claim(self, dropped: list[Path]) -> list[Path]:
        """Move files from the inbox to the folders of their priorities; return where they are now."""
        present = [(path, identity) for path in dropped if (identity := _identity_at(path))]
        moves = [
            (path, self._layout.waiting(priority_of(path, self._layout.inbox)), path.name)
            for path, _ in present
        ]
        claimed = []
        for path, (source, dropped_as) in zip(move_all_durably(moves), present, strict=True):
            if path:
                self._note_folder(source)
                self._note_copy(path, dropped_as)
                if path.name != source.name:
                    self._dropped_as[path] = source.name
                claimed.append(path)
        return claimed

    def _note_folder(self, dropped: Path) -> None:
        """Record that a file came from a folder that sets no priority: its name may be misspelt."""
        folder = folder_without_priority(dropped, self._layout.inbox)
        if folder and folder not in self._named_folders:
            self._named_folders.add(folder)
            self._journal.record(
                FolderWithoutPriority(file=dropped.name, folder=folder, priorities=tuple(Priority))
            )

    def _note_copy(self, path: Path, dropped_as: Identity) -> None:
        """Record which file this one is a copy of, if it is one, for those who wait for that file."""
        found = _identity_at(path)
        if found and (found.device, found.inode) != (dropped_as.device, dropped_as.inode):
            self._journal.record(FileCopied(file=path.name, dropped=str(dropped_as), copy=str(found)))

    def _check(self, path: Path) -> None:
        priority = self._waiting_folders.get(path.parent, Priority.NORMAL)
        data = self._data()
        self._checker.submit(
            CheckOrder(
                priority.rank,
                self._ids.next(),
                path,
                priority,
                data.max_line_bytes,
                data.max_unpacked_bytes,
                data.fields,
            )
        )

    # ---- what became of a check

    def _accept(self, result: Checked | NotChecked, now: float) -> None:
        failpoint("intake.checked")
        found_at = path = result.order.path
        if isinstance(result, Checked) and result.has_changed:
            self._settling.notice(path, renamed_in=False, now=now)
            return
        if path.parent == self._layout.processing:
            if self._is_known(result):
                self._leftovers.discard(path)
                return
            if isinstance(result, Checked) or not isinstance(result.error, OSError):
                path = self._queue.make_way(path)
                result = replace(result, order=replace(result.order, path=path))
        if isinstance(result, NotChecked):
            self._accept_failure(path, result.error)
        elif why := result.check.verdict(self._data().max_bad_row_fraction):
            self._refuse(path, result.check.kind or why)
        else:
            self._add(result, is_leftover=found_at in self._leftovers)
        if isinstance(result, Checked):
            self._board.costs.add("data checks", result.seconds)
        self._dropped_as.pop(found_at, None)
        self._leftovers.discard(found_at)  # last: until all of it has succeeded, it must not begin anew

    def _is_known(self, result: Checked | NotChecked) -> bool:
        """Whether a file in `processing/` has turned out to be one that was started."""
        if isinstance(result, NotChecked):
            return False
        return self._queue.recognise(result.order.path, result.check.sha256, result.identity)

    def _accept_failure(self, path: Path, error: BaseException) -> None:
        if isinstance(error, CheckCancelled):
            self._put_aside(
                path, Outcome.SKIPPED, FaultKind.REQUEST, "skipped on request while it was being checked"
            )
        elif isinstance(error, FileNotFoundError):
            return  # it was moved on by hand
        elif isinstance(error, PermissionError | IsADirectoryError):
            self._refuse(path, f"it cannot be read: {error.strerror}")
        elif isinstance(error, OSError):
            raise error  # a full disk, say, is not the file's fault
        else:
            self._note_failed_check(path, error)
            self._refuse(path, f"its check failed: {type(error).__name__}: {error}")

    def _note_failed_check(self, path: Path, error: BaseException) -> None:
        exception = type(error).__name__
        try:
            raise error
        except BaseException:  # it was raised in another thread, and the log is to have its traceback
            self._journal.record(CheckFailed(file=path.name, exception=exception, problem=str(error)))

    def _add(self, result: Checked, *, is_leftover: bool) -> None:
        order, check = result.order, result.check
        job = check.to_job(
            id=(is_leftover and self._remembered_id(order.path.name, result)) or order.job_id,
            name=order.path.name,
            priority=order.priority,
        )
        self._kept.keep(order.path, check.sha256)
        is_started = order.path.parent == self._layout.processing
        (self._queue.adopt if is_started else self._queue.add)(job, order.path, result.identity)
        failpoint("intake.accepted")
        self._journal.record(
            FileAccepted(
                job_id=job.id,
                file=job.name,
                rows=job.rows,
                priority=job.priority.value,
                rejected_rows=len(check.rejected_lines),
                first_rejection=check.first_rejection,
                dropped_as=self._dropped_as.get(order.path),
            )
        )

    def _remembered_names(self) -> set[str]:
        """Return the names of started files that the ledger has lost, such as preempted ones."""
        cursors = self._newest_progress().cursors.values()
        return {cursor.name for cursor in cursors if not self._queue.is_open(cursor.job_id)}

    def _remembered_id(self, name: str, result: Checked) -> str | None:
        """Return the id under which the newest checkpoint knows a file that the ledger has lost.

        One that was moved to another disk is lost, too; but not one that was put back to be trained as new.
        """
        progress = self._newest_progress()
        wanted = (name, result.check.sha256)  # the content alone may have been trained under another name
        cursors = [
            cursor.job_id for cursor in progress.cursors.values() if (cursor.name, cursor.sha256) == wanted
        ]
        ended = [item.job_id for item in reversed(progress.finished) if (item.name, item.sha256) == wanted]
        lost = (job_id for job_id in [*cursors, *ended] if not self._queue.is_open(job_id))
        file = result.identity
        return next((job_id for job_id in lost if not self._queue.has_given_away(job_id, file)), None)

    def _newest_progress(self) -> Progress:
        """Return what the current checkpoint says. One that is damaged is the worker's to quarantine."""
        try:
            return read_manifest(self._layout.models / POINTER).progress
        except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
            return Progress()

    def _refuse(self, path: Path, reason: str | FileKind) -> None:
        self._put_aside(path, Outcome.FAILED, FaultKind.BAD_DATA, reason)
        self.refused_files += 1

    def _put_aside(self, path: Path, outcome: Outcome, kind: FaultKind, why: str | FileKind) -> None:
        """Move a file that never became a job, with the reason beside it.

        Args:
            why: what it is instead of JSON Lines, if that is the reason.
        """
        [target] = move_all_durably([(path, self._layout.finished(outcome), path.name)])
        if target is None:
            return
        failpoint("intake.put_aside")
        # Only now is it known what to type, because a name that is taken gets a number
        message = what_it_is(why, str(target)) if isinstance(why, FileKind) else why
        priority = self._waiting_folders.get(path.parent) or (
            priority_of(path, self._layout.inbox) if self._layout.inbox in path.parents else Priority.NORMAL
        )
        reason = Reason(
            kind=kind,
            message=message,
            file=printable(target.name),
            at=self._journal.now_text(),
            priority=priority,
        )
        event = FileRefused if outcome is Outcome.FAILED else FileSkipped
        self._journal.record(event(file=target.name, reason=message))
        write_reason(target, reason)  # last: on a full disk this fails where a move does not


def _identity_at(path: Path) -> Identity | None:
    try:
        return identity_of(path.lstat())
    except FileNotFoundError:
        return None


def _by_age(paths: list[Path]) -> list[Path]:
    """Sort files that were found together: by time of change, then by name."""

    def age(path: Path) -> tuple[int, str]:
        try:
            return (path.lstat().st_mtime_ns, path.name)
        except FileNotFoundError:
            return (0, path.name)

    return sorted(paths, key=age)
