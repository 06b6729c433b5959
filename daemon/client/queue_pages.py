"""The folders of the queue page by page, so that a hundred thousand files need neither time nor memory."""

import base64
import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from daemon.client.errors import UnreadableHistory, raising
from daemon.client.finding import place_of
from daemon.client.trash import ended_at, outcome_of, trash_folders, with_present_place
from daemon.files.notes import is_users_file
from daemon.intake.ignored import why_not_accepted
from daemon.intake.inbox import find_files, priority_of
from daemon.jobs.listing import CHECKING, PROCESSING, SAVING, UNCHECKED, reason_beside
from daemon.ledger.pages_of_jobs import ListedJob, read_open_names, read_open_page
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome
from trainer.protocol.text import printable, utc_text

BY_JOB, BY_NAME = "job", "name"  # what a cursor into a folder of waiting files goes on after
STILL_CHANGING_NS = 100_000_000  # a folder changed so lately may change again within one tick of its clock


class QueueFolder(StrEnum):
    """Where files of the queue are."""

    INBOX = "inbox"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    PROCESSING = "processing"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPLETED = "recently_completed"
    TRASH = "trash"


STATES = {
    QueueFolder.COMPLETED: Outcome.COMPLETED.value,
    QueueFolder.FAILED: Outcome.FAILED.value,
    QueueFolder.SKIPPED: Outcome.SKIPPED.value,
}
WAITING = (QueueFolder.HIGH, QueueFolder.NORMAL, QueueFolder.LOW)


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A file in a folder of the queue."""

    place: str
    """Its folder and name, by which it is meant; printable."""
    name: str
    """Printable."""
    state: str
    """dropped (into inbox/), checking (unchecked if no daemon runs), waiting, processing, saving, completed,
    failed or skipped."""
    priority: str | None
    bytes: int
    rows: int | None
    """That can be trained; None while it is not known, and of files that have ended."""
    format: str | None
    """Of its rows; None where it is not known."""
    job: str | None
    """Job id; None while it is not known, and of files that have ended."""
    at: str | None
    """UTC, ISO 8601. When it was accepted, or has ended."""
    reason: str | None
    """Why it failed, was skipped, or is not accepted; printable."""


@dataclass(frozen=True, kw_only=True)
class QueuePage:
    """Some of the files in a folder."""

    files: tuple[ListedFile, ...]
    next: str | None
    """Where the next page begins; None if this is the last one."""


class _Found(NamedTuple):
    at_ns: int
    """When it came there."""
    name: str


class QueuePages:
    """Lists the folders of one queue, and counts what is in them."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._counted: dict[Path, tuple[int, int]] = {}

    # ---- how many

    def counts(self) -> dict[QueueFolder, int]:
        """Return how many files each folder has. What a running daemon has counted is not counted again."""
        status = read_status(self._layout)
        reported = (status.fields.get("queue") or {}) if status.is_running else {}
        counts = {QueueFolder.INBOX: sum(1 for _ in find_files(self._layout.inbox))}
        for place in QueueFolder:
            if place is QueueFolder.TRASH:
                counts[place] = sum(map(self._count, trash_folders(self._layout)))
            elif place is not QueueFolder.INBOX:
                number = reported.get(place.value)
                counts[place] = number if isinstance(number, int) else self._count(self._folder(place))
        return counts

    def _count(self, folder: Path) -> int:
        try:
            changed_ns = os.stat(folder).st_mtime_ns
            known = self._counted.get(folder)
            if known and known[0] == changed_ns:
                return known[1]
            with os.scandir(folder) as entries:
                number = sum(is_users_file(entry.name) for entry in entries)
        except FileNotFoundError:
            return 0
        is_settled = time.time_ns() - changed_ns > STILL_CHANGING_NS
        self._counted[folder] = (changed_ns if is_settled else -1, number)
        return number

    # ---- which ones

    def page(self, place: QueueFolder, *, after: str = "", limit: int, search: str = "") -> QueuePage:
        """Return some of the files in a folder.

        Those that wait come in the order of their training, with those at the end that are still to be
        checked; files that have ended with the last one first; those in the inbox by name.

        Args:
            after: `next` of the page before; "" for the first page.
            search: only files with this in their names, whatever the case of its letters.
        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        sought, after = search.casefold(), _read(after)
        if place is QueueFolder.INBOX:
            return self._inbox(after, limit, sought)
        if place is QueueFolder.TRASH:
            return self._trash(after, limit, sought)
        if place in (QueueFolder.PROCESSING, *WAITING):
            with raising(UnreadableHistory, UnreadableLedger):
                return self._queued(place, after, limit, sought)
        return self._ended(place, after, limit, sought)

    def _folder(self, place: QueueFolder) -> Path:
        return self._layout.queue / place.value

    def _inbox(self, after: str, limit: int, sought: str) -> QueuePage:
        inbox = self._layout.inbox
        paths = (path for path in find_files(inbox) if _fits(path.name, sought))
        first = heapq.nsmallest(limit + 1, (path for path in paths if str(path.relative_to(inbox)) > after))
        files = [self._dropped(path) for path in first[:limit]]
        is_last = len(first) <= limit
        last = None if is_last else _written(str(first[limit - 1].relative_to(inbox)))
        return QueuePage(files=tuple(files), next=last)

    def _dropped(self, path: Path) -> ListedFile:
        return _listed(
            path,
            place=printable(str(path.relative_to(self._layout.base))),
            state="dropped",
            priority=priority_of(path, self._layout.inbox).value,
            reason=why_not_accepted(path, self._layout.base),
        )

    def _trash(self, after: str, limit: int, sought: str) -> QueuePage:
        wanted = islice((path for path in self._trashed(after) if _fits(path.name, sought)), limit + 1)
        paths = list(wanted)
        files = tuple(
            _listed(
                path,
                place=place_of(path),
                state=outcome_of(path).value,
                at=_ended_at(path),
                reason=with_present_place(reason_beside(path) or "", path) or None,
            )
            for path in paths[:limit]
        )
        return QueuePage(files=files, next=_key(paths[limit - 1]) if len(paths) > limit else None)

    def _trashed(self, after: str) -> Iterator[Path]:
        """Yield the files in the trash, those that were cleared last first."""
        folders = trash_folders(self._layout)[::-1]
        last_folder, _, last_name = after.partition("/")
        if last_folder:
            names = [folder.name for folder in folders]
            folders = folders[names.index(last_folder) :] if last_folder in names else []
        for folder in folders:
            past = last_name if folder.name == last_folder else ""
            yield from (
                folder / name
                for name in sorted(filter(is_users_file, os.listdir(folder)))
                if not past or name > past
            )

    def _ended(self, place: QueueFolder, after: str, limit: int, sought: str) -> QueuePage:
        last_at, _, last_name = after.partition(":")
        past = (int(last_at), last_name) if last_at.isdecimal() else None
        folder = self._folder(place)
        found = (item for item in _scanned(folder) if _fits(item.name, sought))
        first = heapq.nlargest(limit + 1, (item for item in found if past is None or item < past))
        files = tuple(
            _listed(
                folder / item.name,
                place=place_of(folder / item.name),
                state=STATES[place],
                at=_ended_at(folder / item.name),
                reason=None if place is QueueFolder.COMPLETED else reason_beside(folder / item.name),
            )
            for item in first[:limit]
        )
        last = first[limit - 1] if len(first) > limit else None
        return QueuePage(files=files, next=_written(f"{last.at_ns}:{last.name}") if last else None)

    # ---- those that wait or are processed

    def _queued(self, place: QueueFolder, after: str, limit: int, sought: str) -> QueuePage:
        kind, _, last = after.partition(":")
        files: list[ListedFile] = []
        if kind != BY_NAME:
            files, next_job = self._known(place, last, limit, sought)
            if next_job:
                return QueuePage(files=tuple(files), next=_written(f"{BY_JOB}:{next_job}"))
            last = ""
        more = self._unknown(place, last, limit - len(files) + 1, sought)
        room = limit - len(files)
        listed = [self._unchecked(path, place) for path in more[:room]]
        if len(more) <= room:
            return QueuePage(files=(*files, *listed), next=None)
        last = more[room - 1].name if room else ""
        return QueuePage(files=(*files, *listed), next=_written(f"{BY_NAME}:{last}"))

    def _known(
        self, place: QueueFolder, after: str, limit: int, sought: str
    ) -> tuple[list[ListedFile], str | None]:
        """Return files that the ledger knows, and the job that the next page goes on after, if any."""
        files: list[ListedFile] = []
        while True:
            jobs = read_open_page(
                self._layout.ledger_file,
                state=PROCESSING if place is QueueFolder.PROCESSING else "waiting",
                priority=None if place is QueueFolder.PROCESSING else place.value,
                after=after,
                limit=limit + 1,
                search=sought,
            )
            for job in jobs:
                if len(files) == limit:
                    return files, after
                after = job.id
                if file := self._described(job, place):
                    files.append(file)
            if len(jobs) <= limit:
                return files, None

    def _described(self, job: ListedJob, place: QueueFolder) -> ListedFile | None:
        """Return a file with what the ledger knows of it; None if it is not there any more."""
        path = self._folder(place) / os.fsdecode(job.name)
        if not os.path.lexists(path):
            return None
        state = place.value if place is QueueFolder.PROCESSING else "waiting"
        if job.is_trained and not read_status(self._layout).is_gone:
            state = SAVING
        return _listed(
            path,
            place=place_of(path),
            state=state,
            priority=None if place is QueueFolder.PROCESSING else place.value,
            rows=job.rows,
            format=job.format or None,
            job=job.id,
            at=job.accepted_at,
        )

    def _unknown(self, place: QueueFolder, after: str, limit: int, sought: str) -> list[Path]:
        """Return files that the ledger does not know there: they are to be checked, or were moved by hand."""
        folder = self._folder(place)
        known = read_open_names(
            self._layout.ledger_file,
            state=PROCESSING if place is QueueFolder.PROCESSING else "waiting",
            priority=None if place is QueueFolder.PROCESSING else place.value,
        )
        try:
            with os.scandir(folder) as entries:
                names = (
                    entry.name
                    for entry in entries
                    if is_users_file(entry.name)
                    and entry.name > after
                    and os.fsencode(entry.name) not in known
                    and _fits(entry.name, sought)
                )
                return [folder / name for name in heapq.nsmallest(limit, names)]
        except FileNotFoundError:
            return []

    def _unchecked(self, path: Path, place: QueueFolder) -> ListedFile:
        if place is QueueFolder.PROCESSING:
            return _listed(path, place=place_of(path), state=PROCESSING)
        state = UNCHECKED if read_status(self._layout).is_gone else CHECKING
        return _listed(path, place=place_of(path), state=state, priority=place.value)


def _listed(
    path: Path,
    *,
    place: str,
    state: str,
    priority: str | None = None,
    rows: int | None = None,
    format: str | None = None,
    job: str | None = None,
    at: str | None = None,
    reason: str | None = None,
) -> ListedFile:
    try:
        size = path.lstat().st_size
    except FileNotFoundError:  # it has just been moved
        size = 0
    return ListedFile(
        place=place,
        name=printable(path.name),
        state=state,
        priority=priority,
        bytes=size,
        rows=rows,
        format=format,
        job=job,
        at=at,
        reason=reason,
    )


def _scanned(folder: Path) -> Iterator[_Found]:
    """Yield the files in a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_users_file(entry.name):
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield _Found(found.st_ctime_ns, entry.name)
    except FileNotFoundError:
        return


def _key(path: Path) -> str:
    return _written(f"{path.parent.name}/{path.name}")


def _ended_at(path: Path) -> str | None:
    try:
        return utc_text(ended_at(path))
    except FileNotFoundError:  # it has just been moved
        return None


def _written(cursor: str) -> str:
    """Return a cursor as it can be sent: names need not be UTF-8."""
    return base64.urlsafe_b64encode(os.fsencode(cursor)).decode("ascii")


def _read(cursor: str) -> str:
    """Return what was written; "" for what was not, with which the list begins anew."""
    try:
        return os.fsdecode(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except ValueError:
        return ""


def _fits(name: str, sought: str) -> bool:
    return not sought or sought in printable(name).casefold()
