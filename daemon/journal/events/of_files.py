"""Events of files, before they become jobs and when people move them."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import FileEvent, JournalEvent
from trainer.protocol.text import num_of, printable, shell_word


@dataclass(frozen=True, kw_only=True)
class FileAccepted(FileEvent):
    """A file was checked and became a job."""

    kind = "accepted"
    rows: int
    priority: str
    rejected_rows: int = 0
    first_rejection: str | None = None
    dropped_as: str | None = None
    """The name it had in `inbox/`, if that was taken in the queue."""

    @property
    def message(self) -> str:
        name = f"{printable(self.dropped_as)}, queued as {self.file}" if self.dropped_as else self.file
        accepted = f"accepted {name} ({num_of(self.rows, 'row')}, {self.priority})"
        if not self.rejected_rows:
            return accepted
        return f"{accepted}; {num_of(self.rejected_rows, 'row')} rejected, the first: {self.first_rejection}"

    @property
    def alert(self) -> tuple[str, str] | None:
        if not self.rejected_rows:
            return None
        rejected = f"{self.file}: {num_of(self.rejected_rows, 'row')} rejected"
        return (f"rejected {self.job_id}", f"{rejected} (training_queue show {shell_word(str(self.file))})")

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("intake",)


@dataclass(frozen=True, kw_only=True)
class FolderWithoutPriority(JournalEvent):
    """A file came in a folder of `inbox/` that sets no priority; said once for each folder and daemon."""

    kind = "no_priority"
    level = logging.WARNING
    folder: str
    """Its name."""
    priorities: tuple[str, ...]
    """The names that set one."""

    @property
    def message(self) -> str:
        *others, last = (f"inbox/{name}/" for name in self.priorities)
        return (
            f"inbox/{printable(self.folder)}/ sets no priority, so files from there have priority normal; "
            f"expected {', '.join(others)} or {last} where one is meant"
        )


@dataclass(frozen=True, kw_only=True)
class FileCopied(FileEvent):
    """A dropped file lay on another file system than the queue, so a copy of it was taken."""

    kind = "copied"
    dropped: str
    """Device, inode, size and time of change of the file that was dropped."""
    copy: str
    """The same of its copy, by which its job is recognised."""

    @property
    def message(self) -> str:
        return f"{self.file} came from another file system, so it was copied"


@dataclass(frozen=True, kw_only=True)
class FileNotKept(FileEvent):
    """A file could not be kept in `models/data/`, so what was trained before it may not be forgotten."""

    kind = "not_kept"
    level = logging.WARNING
    problem: str

    @property
    def message(self) -> str:
        return f"{self.file} could not be kept in models/data/: {self.problem}; it is trained nevertheless"


@dataclass(frozen=True, kw_only=True)
class FileRefused(FileEvent):
    """A file was moved to `failed/` without ever becoming a job."""

    kind = "failed"
    level = logging.WARNING
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: {self.reason}"

    @property
    def error(self) -> tuple[str, str]:
        return ("BadFile", self.reason)


@dataclass(frozen=True, kw_only=True)
class FileSkipped(FileEvent):
    """A file was moved to `skipped/` on request, before it became a job."""

    kind = "skipped"
    level = logging.WARNING
    reason: str

    @property
    def message(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class IntakeDelayed(FileEvent):
    """Disk or ledger failed while a file was being accepted. It stays where it is and is tried again."""

    kind = "intake_delayed"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return f"{self.file} cannot be accepted: {self.problem}; trying again"

    @property
    def alert(self) -> tuple[str, str]:
        return ("intake", self.message)


@dataclass(frozen=True, kw_only=True)
class CheckFailed(FileEvent):
    """The check of a file failed because of the checker, not of its rows. The file is refused."""

    kind = "check_failed"
    level = logging.ERROR
    has_traceback = True
    exception: str
    """Name of its class."""
    problem: str

    @property
    def message(self) -> str:
        return f"the check of {self.file} failed"


@dataclass(frozen=True, kw_only=True)
class FilesIgnored(JournalEvent):
    """Files in `inbox/` are not accepted, and it is not known what they are; or others than before."""

    kind = "files_ignored"
    level = logging.WARNING
    names: tuple[str, ...]
    """The first of them."""
    more: int
    """Those that are not named."""
    suffixes: tuple[str, ...]
    """One of which the name of an accepted file has."""

    @property
    def message(self) -> str:
        more = f" and {self.more} more" if self.more else ""
        return (
            f"inbox/: {', '.join(self.names)}{more} not accepted; expected readable files that end in "
            f"{', '.join(self.suffixes[:-1])} or {self.suffixes[-1]}"
        )

    @property
    def alert(self) -> tuple[str, str]:
        return ("ignored", self.message)


@dataclass(frozen=True, kw_only=True)
class NoFilesIgnored(JournalEvent):
    """No file in `inbox/` is listed as not accepted any more."""

    kind = "no_files_ignored"

    @property
    def message(self) -> str:
        return "inbox/: no file is listed as not accepted any more"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("ignored",)


@dataclass(frozen=True, kw_only=True)
class FileNotAccepted(FileEvent):
    """It is known what a file in `inbox/` is that is not accepted, and how it can be trained."""

    kind = "file_not_accepted"
    level = logging.WARNING
    hint: str

    @property
    def message(self) -> str:
        return self.hint

    @property
    def alert(self) -> tuple[str, str]:
        return (f"ignored {self.file}", self.hint)


@dataclass(frozen=True, kw_only=True)
class UnacceptedFileGone(FileEvent):
    """A file in `inbox/` that was not accepted is gone."""

    kind = "unaccepted_file_gone"

    @property
    def message(self) -> str:
        return f"{self.file}: gone"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return (f"ignored {self.file}",)


@dataclass(frozen=True, kw_only=True)
class FileMoved(FileEvent):
    """A file was not where it had been left: a crash interrupted a move, or a person moved it."""

    kind = "moved"
    what: str

    @property
    def message(self) -> str:
        return f"{self.file} {self.what}"


@dataclass(frozen=True, kw_only=True)
class FileRemoved(FileEvent):
    """A job's file was taken out of the queue."""

    kind = "removed"

    @property
    def message(self) -> str:
        return f"{self.file} was taken out of the queue"
