"""Wait until a file has been trained, or has failed: its job's record is what the ledger says then."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from daemon.client.errors import NoSuchFile, NotEnded, UnreadableHistory, raising
from daemon.client.queue import AddedFile
from daemon.files.identity import is_there
from daemon.files.notes import REASON_SUFFIX, is_users_file, note_beside
from daemon.intake.inbox import find_files
from daemon.jobs.listing import finished_file
from daemon.ledger.event_stream import find_copy
from daemon.ledger.job_records import RecordedJob, find_job, find_job_named, find_job_of
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.job import Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.places import OPEN_STATES
from trainer.protocol.text import printable

JOB_ID = re.compile(r"\d{8}-\d{6}-\d{6}")
FIRST_INTERVAL_S = 0.05
LONGEST_INTERVAL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class EndedFile:
    """How a file's training ended."""

    name: str
    """As the queue has it; printable."""
    job: str | None
    """Job id; None for a file that was refused before it became a job."""
    state: str
    """completed, failed, skipped, or removed by hand."""
    rows_trained: int
    steps: int
    first_loss: float | None
    """Of its first step; None without one, or where it was no finite number."""
    last_loss: float | None
    reason: str | None
    """Why it failed or was skipped; printable."""


def wait_for(
    layout: Layout,
    file: AddedFile | str,
    *,
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> EndedFile:
    """Wait until a file's job has ended; return its record.

    Args:
        file: what was added, a name, or a job id.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    Raises:
        NotEnded: it has not ended in time.
        NoSuchFile: nobody knows a file of this name.
        UnreadableHistory: the ledger cannot be read.
    """
    search = _of_added(layout, file) if isinstance(file, AddedFile) else _of_name(layout, file)
    deadline, interval_s = clock() + timeout_s, FIRST_INTERVAL_S
    with raising(UnreadableHistory, UnreadableLedger):
        while (ended := search.ended()) is None:
            if (left_s := deadline - clock()) <= 0:
                raise NotEnded(_state_of(search.name, timeout_s, layout))
            sleep(min(interval_s, left_s))
            interval_s = min(2 * interval_s, LONGEST_INTERVAL_S)
    return ended


def _state_of(name: str, timeout_s: float, layout: Layout) -> str:
    return (
        f"{name} has not ended within {timeout_s:g} s; the daemon is {read_status(layout).life_text()}; "
        "training_queue list shows where the file stands"
    )


class _Search:
    """Follows one file. Once it has become a job, only that job counts, whatever else bears its name.

    Args:
        name: printable.
        find: looks for the file's job, or for a file that failed or was skipped without one; None while
            there is neither.
    """

    def __init__(
        self, layout: Layout, name: str, find: Callable[[], "RecordedJob | EndedFile | None"]
    ) -> None:
        self.name = name
        self._layout = layout
        self._find = find
        self._job_id: str | None = None

    def ended(self) -> EndedFile | None:
        """Return how it ended; None if it has not."""
        job = find_job(self._layout.ledger_file, self._job_id) if self._job_id else None
        found = job or self._find()
        if not isinstance(found, RecordedJob):
            return found
        self._job_id = found.id
        return None if _is_open(found) else _record(found)


def _is_open(job: RecordedJob) -> bool:
    return job.state in OPEN_STATES


def _record(job: RecordedJob) -> EndedFile:
    return EndedFile(
        name=job.name,
        job=job.id,
        state=job.state,
        rows_trained=job.rows_trained,
        steps=job.steps,
        first_loss=job.first_loss,
        last_loss=job.last_loss,
        reason=job.reason,
    )


# ---- where a file stands


class _Nowhere(Exception):
    """A file is neither there nor known."""


def _latest(
    layout: Layout, find: Callable[[], RecordedJob | None], is_meant: Callable[[Path], bool]
) -> RecordedJob | EndedFile | None:
    """Return the newest job of a file, or its refusal if that came later.

    The file may be moved on while it is looked for. So the folders are listed in the order in which it passes
    them, and the ledger is read once more: what left them unseen has become a job by then, or lies in
    `failed/` or `skipped/`.

    Returns:
        None while the file is still to become a job.
    Raises:
        _Nowhere: no such file is there, and the ledger knows none.
    """
    known = find()
    if known and _is_open(known):
        return known
    is_coming = any(map(is_meant, _files_on_their_way(layout)))
    job = find()
    if job and (_is_open(job) or known is None or job.id != known.id):
        return job
    if is_coming:
        return None
    if refused := next(_refusals(layout, is_meant, job), None):
        return refused
    if job is None:
        raise _Nowhere
    return job


def _files_on_their_way(layout: Layout) -> Iterator[Path]:
    waiting = [layout.waiting(priority) for priority in Priority]
    yield from find_files(layout.inbox)
    # Twice: a file changes from one to the other with its priority, and returns to them when it is preempted
    for folder in (*waiting, layout.processing, *waiting):
        yield from (path for path in folder.iterdir() if is_users_file(path.name))


def _refusals(
    layout: Layout, is_meant: Callable[[Path], bool], job: RecordedJob | None
) -> Iterator[EndedFile]:
    """Yield the files that failed or were skipped without having become a job, and after `job` ended."""
    for outcome in (Outcome.FAILED, Outcome.SKIPPED):
        folder = layout.finished(outcome)
        for path in filter(is_meant, folder.iterdir()):
            if is_users_file(path.name) and (job is None or _is_refused_after(path, job)):
                yield _without_job(layout, outcome, path.name)


def _is_refused_after(path: Path, job: RecordedJob) -> bool:
    """Whether a file failed or was skipped after its job had ended, without having become one again."""
    try:
        reason = Reason.model_validate(read_json(note_beside(path, REASON_SUFFIX)))
    except (OSError, UnreadableFile, ValidationError):
        return False
    return reason.job_id is None and job.state in list(Outcome) and reason.at >= (job.finished_at or "")


def _without_job(layout: Layout, outcome: Outcome, name: str) -> EndedFile:
    found = finished_file(layout, outcome, name)
    return EndedFile(
        name=found.name,
        job=None,
        state=found.state,
        rows_trained=0,
        steps=0,
        first_loss=None,
        last_loss=None,
        reason=found.reason,
    )


# ---- a file that was added


def _of_added(layout: Layout, file: AddedFile) -> _Search:
    def find() -> RecordedJob | EndedFile | None:
        identity = file.identity
        if find_job_of(layout.ledger_file, identity) is None:  # else the events need not be searched
            identity = find_copy(layout.ledger_file, identity) or identity

        def find_it() -> RecordedJob | None:
            return find_job_of(layout.ledger_file, identity)

        def is_it(path: Path) -> bool:
            return is_there(path, identity)

        if find_it() is None:  # no earlier job of its to tell from the next one
            return next(_refusals(layout, is_it, None), None)
        with suppress(_Nowhere):  # the ledger has just been replaced
            return _latest(layout, find_it, is_it)
        return None

    return _Search(layout, file.added_as, find)


# ---- a name


def _of_name(layout: Layout, name: str) -> _Search:
    if JOB_ID.fullmatch(name):
        return _Search(layout, name, lambda: _job_with_id(layout, name))
    return _Search(layout, printable(name), lambda: _named(layout, name))


def _job_with_id(layout: Layout, job_id: str) -> RecordedJob:
    if job := find_job(layout.ledger_file, job_id):
        return job
    raise NoSuchFile(f"the ledger has no job {job_id}; expected an id such as training_queue list shows")


def _named(layout: Layout, name: str) -> RecordedJob | EndedFile | None:
    """Return the newest job of this name, unless another file of this name is still to become one."""
    file_name = name.rpartition("/")[2]

    def is_meant(path: Path) -> bool:
        return file_name in (path.name, printable(path.name))

    def look() -> RecordedJob | EndedFile | None:
        return _latest(layout, lambda: find_job_named(layout.ledger_file, file_name), is_meant)

    with suppress(_Nowhere):
        return look()
    try:
        return look()  # once more: it may have been put back from failed/ meanwhile
    except _Nowhere as error:
        raise NoSuchFile(
            f"no file is named {printable(name)} in inbox/, queue/ or the ledger; "
            "add it with: training_queue add"
        ) from error
