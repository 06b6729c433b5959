"""Keep the files that the model is trained on: `models/data/SHA256`, a second name of each accepted one.

People may remove what lies in `queue/recently_completed/` whenever they like; what was trained after a file
is needed again to forget that file. Beyond a budget those go first that were trained longest ago: without
them, only what is older still cannot be forgotten any more.
"""

import errno
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import NO_LINK_HERE, keep_durably, numbered, sync_directory
from trainer.protocol.layout import PRIVATE_MODE

DAY_S = 86_400.0
SHARE_LEFT = 0.9  # of the budget, once it was exceeded: the folder is listed for each time that it is
CONTENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """A file in the folder."""

    sha256: str
    num_bytes: int
    moved_at: float
    """Unix seconds. Its names changed then for the last time, which they do when it is trained."""


@dataclass(frozen=True, kw_only=True)
class KeptUse:
    """What the files that are kept to be trained again take, and how fast that grows."""

    files: int
    bytes: int
    budget_bytes: int
    """As `forget.kept_files_bytes`."""
    growth_bytes_per_day: float
    full_in_s: float | None
    """Seconds until those trained longest ago begin to go, at this pace; None if they are not expected to."""


class KeptFiles:
    """The folder, as the daemon fills it.

    Args:
        budget_bytes: of all files together; 0 keeps none, and removes none.
        on_problem: called by `keep` with the name of a file, perhaps an earlier one, that could not be kept.
    """

    def __init__(
        self, folder: Path, *, budget_bytes: Callable[[], int], on_problem: Callable[[str, OSError], None]
    ) -> None:
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._on_problem = on_problem
        self._used: int | None = None  # bytes; listed once, then counted
        self._copies: ThreadPoolExecutor | None = None
        self._not_copied: deque[tuple[str, OSError]] = deque()

    def keep(self, path: Path, sha256: str) -> None:
        """Keep a file under its SHA-256. On another file system a copy is made beside what else happens."""
        while self._not_copied:
            self._on_problem(*self._not_copied.popleft())
        budget, target = self._budget_bytes(), self._folder / sha256
        if not budget or os.path.lexists(target):
            return
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=PRIVATE_MODE)
                sync_directory(self._folder.parent)
            os.link(path, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EXDEV, *NO_LINK_HERE):
                self._copy(path, sha256)
            elif error.errno not in (errno.ENOENT, errno.EEXIST):  # moved on by hand; kept by somebody else
                self._on_problem(path.name, error)
            return
        failpoint("kept.linked")
        self._make_room(budget, target)

    def close(self) -> None:
        """Let go of what is still to be copied."""
        if self._copies:
            self._copies.shutdown(wait=False, cancel_futures=True)

    def _copy(self, path: Path, sha256: str) -> None:
        self._copies = self._copies or ThreadPoolExecutor(max_workers=1, thread_name_prefix="kept-files")
        with suppress(RuntimeError):  # closed
            self._copies.submit(self._copy_now, path, sha256)

    def _copy_now(self, path: Path, sha256: str) -> None:
        try:
            keep_durably(path, self._folder, name=sha256)
        except (FileExistsError, FileNotFoundError):
            pass
        except OSError as error:
            self._not_copied.append((path.name, error))
        self._used = None  # the next file is counted together with this one

    def _make_room(self, budget: int, added: Path) -> None:
        if self._used is None:
            self._used = sum(file.num_bytes for file in kept_in(self._folder))
        else:
            with suppress(FileNotFoundError):
                self._used += added.lstat().st_size
        if self._used <= budget:
            return
        files = sorted(kept_in(self._folder), key=lambda file: file.moved_at)
        self._used = sum(file.num_bytes for file in files)
        for file in files:
            if self._used <= SHARE_LEFT * budget:
                break
            (self._folder / file.sha256).unlink(missing_ok=True)
            self._used -= file.num_bytes


def give_name(kept: Path, folder: Path, wanted: str) -> None:
    """Let a kept file lie in a folder, too, under a name with a number.

    Raises:
        FileNotFoundError: it is not kept any more.
    """
    for number in count(2):
        with suppress(FileExistsError):
            keep_durably(kept, folder, name=numbered(wanted, number))
            return


def kept_in(folder: Path) -> Iterator[KeptFile]:
    """Yield the files of the folder, in no order; none if there is no folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if not CONTENT.fullmatch(entry.name):
                continue
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                yield KeptFile(sha256=entry.name, num_bytes=found.st_size, moved_at=found.st_ctime)


def kept_use(folder: Path, *, budget_bytes: int, now: float, over_days: float = 7.0) -> KeptUse:
    """Return what kept files take, and when the budget is used up at the pace of the last days.

    Args:
        now: Unix seconds.
    """
    files = list(kept_in(folder))
    since = max(now - over_days * DAY_S, min((file.moved_at for file in files), default=now))
    recent = sum(file.num_bytes for file in files if file.moved_at > since)
    per_day = recent / max((now - since) / DAY_S, 1 / 24)
    num_bytes = sum(file.num_bytes for file in files)
    room = max(0, budget_bytes - num_bytes)
    return KeptUse(
        files=len(files),
        bytes=num_bytes,
        budget_bytes=budget_bytes,
        growth_bytes_per_day=per_day,
        full_in_s=room / per_day * DAY_S if per_day and budget_bytes else None,
    )
