"""Files that come in parts, such as from a browser: each grows under a name that the daemon passes over.

    inbox/PRIORITY/.upload-KEY/NAME       what has come so far; its size is where to go on
    inbox/PRIORITY/.upload-KEY/.added     once it is whole and in the inbox: as what

It lies in the file system of the inbox, so that it appears there whole, by a rename. So it can be resumed
after the connection broke, and after this program was restarted.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from daemon.client.converted_copy import CONVERTED_SUFFIXES, SUFFIXES, is_converted
from daemon.client.errors import BadUpload, FileRefused, NotATrainingFile, TooLarge, WrongOffset
from daemon.client.settings import ClientSettings
from daemon.files.names import is_temporary, is_training_file
from daemon.files.notes import is_users_file
from trainer.protocol.files import UnreadableFile, read_json, rename_durably, sync_directory, write_json
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.places import Priority
from trainer.protocol.text import printable, size_text

FOLDER_PREFIX = ".upload-"
ADDED_FILE = ".added"
KEY_DIGITS = 24
MAX_NAME_BYTES = 200  # so that names of notes and numbers still fit behind it
MOST_BYTES = 5_000_000_000
ABANDONED_S = 86_400.0
SPACE_LOOKED_AT_BYTES = 64 << 20  # between two looks at how much is free


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that somebody wants to upload."""

    name: str
    size: int
    """Bytes of the whole."""
    priority: Priority = Priority.NORMAL
    id: str = ""
    """Chosen by the sender; tells two uploads of the same file apart."""

    @property
    def key(self) -> str:
        """By which it is found again."""
        text = "\0".join((self.id, self.name, str(self.size)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True, kw_only=True)
class UploadState:
    """How much of a file has come."""

    received: int
    """Bytes; the next part begins there."""
    size: int
    added_as: str | None
    """Its name in the inbox once it is whole and there; printable."""
    rows: int | None = None
    """Of a table that was converted; None for other files."""


class UploadSink:
    """Takes the parts of one file."""

    def __init__(self, file: BinaryIO, upload: Upload, room: "Room") -> None:
        self._file = file
        self._upload = upload
        self._room = room
        self.received = file.seek(0, os.SEEK_END)

    def write(self, part: bytes) -> None:
        """Add a part.

        Raises:
            WrongOffset: it is more than the whole file was to have.
            TooLarge: the disk is filling up.
            OSError: it cannot be written.
        """
        if self.received + len(part) > self._upload.size:
            raise WrongOffset(
                f"{printable(self._upload.name)}: more than the {self._upload.size:,} bytes came that it was "
                "said to have; it may have been changed meanwhile: upload it anew"
            )
        self._room.refuse_if_full(len(part))
        self._file.write(part)
        self._file.flush()  # whoever asks how much has come looks at the file
        self.received += len(part)


class Room:
    """Watches that an upload leaves free what the daemon needs."""

    def __init__(self, folder: Path, least_bytes: int) -> None:
        self._folder = folder
        self._least_bytes = least_bytes
        self._since_look = 0

    @property
    def free_bytes(self) -> int:
        """How much may still be written."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize - self._least_bytes

    def refuse_if_full(self, num_bytes: int) -> None:
        """Look again now and then."""
        self._since_look += num_bytes
        if self._since_look < SPACE_LOOKED_AT_BYTES:
            return
        self._since_look = 0
        if self.free_bytes < 0:
            raise TooLarge(
                f"the disk is full but for the {size_text(self._least_bytes)} that the daemon needs "
                "(daemon.min_free_bytes); free some space, then continue the upload"
            )


class Uploads:
    """The uploads into one working directory.

    Args:
        most_bytes: that a file may have; 0 allows no upload.
    """

    def __init__(self, layout: Layout, settings: ClientSettings, *, most_bytes: int = MOST_BYTES) -> None:
        self._layout = layout
        self._settings = settings
        self._converting = threading.Lock()
        self.most_bytes = most_bytes

    def state(self, upload: Upload) -> UploadState:
        """Return how much of a file has come.

        Raises:
            BadUpload, TooLarge: it could not be taken.
        """
        folder = self._folder(upload)
        with suppress(OSError, UnreadableFile, KeyError, TypeError):
            added = read_json(folder / ADDED_FILE)
            return UploadState(
                received=upload.size, size=upload.size, added_as=added["added_as"], rows=added["rows"]
            )
        try:
            received = (folder / upload.name).lstat().st_size
        except FileNotFoundError:
            received = 0
        self._refuse_unfit(upload, received)
        return UploadState(received=received, size=upload.size, added_as=None)

    @contextmanager
    def opened(self, upload: Upload, offset: int) -> Iterator[UploadSink]:
        """Yield what takes the parts from `offset` on; nobody else adds to the same file meanwhile.

        Raises:
            BadUpload, TooLarge: it cannot be taken.
            WrongOffset: so much has not come, or more, or somebody is uploading it.
        """
        folder = self._folder(upload)
        self._refuse_unfit(upload, offset)
        self.remove_abandoned()
        folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
        (folder / ADDED_FILE).unlink(missing_ok=True)
        with open(folder / upload.name, "ab", opener=_without_following) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WrongOffset(
                    f"{printable(upload.name)} is being uploaded already; wait until that has ended"
                ) from error
            sink = UploadSink(file, upload, Room(folder, self._least_free_bytes()))
            if sink.received != offset:
                raise WrongOffset(
                    f"{printable(upload.name)}: {sink.received:,} bytes have come so far; expected to go on "
                    f"there, not at {offset:,}"
                )
            yield sink

    def finish(self, upload: Upload) -> UploadState:
        """Let a file that is whole appear in the inbox; a taken name gets a number, a table is converted.

        Raises:
            NotATrainingFile: it can neither be trained nor converted; it is gone then.
            HelperFailed: the process that converts it has failed.
            OSError: it cannot be renamed.
        """
        folder = self._folder(upload)
        path = folder / upload.name
        try:
            added_as, rows = self._added(upload, path)
        except (NotATrainingFile, FileRefused) as error:
            shutil.rmtree(folder, ignore_errors=True)
            shown = str(error).replace(printable(str(path)), printable(upload.name))
            raise NotATrainingFile(shown) from error
        write_json(folder / ADDED_FILE, {"added_as": added_as, "rows": rows}, durable=False)
        return UploadState(received=upload.size, size=upload.size, added_as=added_as, rows=rows)

    def cancel(self, upload: Upload) -> None:
        """Remove what has come of a file."""
        shutil.rmtree(self._folder(upload), ignore_errors=True)

    def remove_abandoned(self, *, older_than_s: float = ABANDONED_S) -> int:
        """Remove uploads to which nothing was added for long; return how many."""
        number = 0
        for priority in Priority:
            for folder in (self._layout.inbox / priority.value).glob(f"{FOLDER_PREFIX}*"):
                with suppress(OSError):
                    if time.time() - _changed_at(folder) > older_than_s:
                        shutil.rmtree(folder)
                        number += 1
        return number

    # ---- what may come

    def _folder(self, upload: Upload) -> Path:
        _refuse_name(upload.name)
        return self._layout.inbox / upload.priority.value / f"{FOLDER_PREFIX}{upload.key}"

    def _refuse_unfit(self, upload: Upload, received: int) -> None:
        if upload.size < 0 or not 0 <= received <= upload.size:
            raise WrongOffset(
                f"{printable(upload.name)}: an offset of {received:,} in {upload.size:,} bytes; expected one "
                "within the file"
            )
        if upload.size > self.most_bytes:
            what = (
                "uploads are switched off (--max-upload 0)"
                if not self.most_bytes
                else f"expected at most {size_text(self.most_bytes)} (--max-upload)"
            )
            raise TooLarge(
                f"{printable(upload.name)} has {size_text(upload.size)}; {what}; to add it on the machine "
                "itself: training_queue add FILE"
            )
        folder = self._layout.inbox / upload.priority.value
        free = Room(folder, self._least_free_bytes()).free_bytes
        if upload.size - received > free:
            needed = size_text(upload.size - received)
            raise TooLarge(
                f"{printable(upload.name)} needs {needed} more; {size_text(max(0, free))} are free besides "
                "what the daemon needs (daemon.min_free_bytes); free some space, and try again"
            )

    def _least_free_bytes(self) -> int:
        settings = self._settings.effective().settings
        return max(settings.daemon.min_free_bytes, settings.disk.min_free_bytes or 0)

    # ---- it becomes a file of the inbox

    def _added(self, upload: Upload, path: Path) -> tuple[str, int | None]:
        if is_converted(path):
            return self._converted(upload, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        added = rename_durably(path, self._layout.inbox / upload.priority.value, upload.name)
        return printable(added.name), None

    def _converted(self, upload: Upload, path: Path) -> tuple[str, int | None]:
        """Have a table converted, one at a time, by a process that may take the memory for it."""
        from daemon.client.helper_process import ask
        from trainer.protocol.added_table import MODULE, AddedTable, AddTableOrder

        order = AddTableOrder(base=str(self._layout.base), file=str(path), priority=upload.priority)
        with self._converting:
            added = ask(MODULE, order, AddedTable)
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
        return added.added_as, added.rows


def _refuse_name(name: str) -> None:
    """Refuse what is no plain name of a file that the inbox takes, or that is converted for it.

    Raises:
        BadUpload: it is none.
    """
    shown = printable(name)
    if not name or "/" in name or name in (".", "..") or shown != name or "\\" in name:
        raise BadUpload(f"{shown or 'the name'} is no plain name of a file; rename it, and try again")
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise BadUpload(
            f"{shown}: the name has {len(os.fsencode(name))} bytes; expected at most {MAX_NAME_BYTES}; "
            "rename it, and try again"
        )
    inner = name.removesuffix(".gz").removesuffix(".zst").lower()
    is_known = is_training_file(name) or inner.endswith(CONVERTED_SUFFIXES)
    if is_temporary(name) or not is_users_file(name) or not is_known:
        raise BadUpload(f"{shown}: expected a name that ends in {SUFFIXES}; rename it, and try again")


def _changed_at(folder: Path) -> float:
    """Return when something was last added to an upload, in Unix seconds."""
    return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
