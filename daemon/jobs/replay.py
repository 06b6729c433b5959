"""Keep the files that open jobs replay rows from.

People may remove what lies in `queue/recently_completed/` whenever they like. So each file that an open job
replays has a second name in `queue/.replayed/`, a hard link, until no open job needs it any more.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from daemon.files.identity import Identity, is_there
from daemon.jobs.job_queue import JobQueue
from daemon.ledger.completed_files import Completed
from daemon.ledger.ledger import Ledger
from trainer.protocol.files import keep_durably, sync_directory
from trainer.protocol.job import Cursor, EarlierFile, Job, Outcome
from trainer.protocol.layout import PRIVATE_MODE, Layout

FILES_REPLAYED = 32  # each is read whole when a worker first replays it, and stays open


class Replays:
    """The replayed files of one working directory."""

    def __init__(self, layout: Layout, queue: JobQueue, ledger: Ledger) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._of_cursors: dict[str, tuple[EarlierFile, ...]] = {}

    @property
    def folder(self) -> Path:
        """Holds the files, by the ids of their jobs."""
        return self._layout.replayed

    def choose(self, job: Job) -> tuple[EarlierFile, ...]:
        """Choose what a job that starts will replay, and keep it."""
        chosen = choose(self._ledger.newest_completed(), self._layout, sha256=job.sha256)
        return tuple(item.file for item in chosen if self._keep(item.file, item.name, item.identity))

    def keep(self, files: Sequence[EarlierFile]) -> None:
        """Keep what a job chose at an earlier start; a completed job that waits again has let go of it."""
        for file in files:
            if known := self._ledger.find_job(file.job_id):
                self._keep(file, known.job.name, known.identity)

    def _keep(self, file: EarlierFile, name: str, identity: Identity) -> bool:
        if os.path.lexists(self.folder / file.job_id):
            return True
        path = self._layout.finished(Outcome.COMPLETED) / name
        if not is_there(path, identity):
            return False
        if not self.folder.is_dir():
            self.folder.mkdir(mode=PRIVATE_MODE)
            sync_directory(self._layout.queue)
        try:
            keep_durably(path, self.folder, name=file.job_id)
        except FileNotFoundError:  # removed at this very moment
            return False
        return True

    def note_cursors(self, cursors: Iterable[Cursor]) -> None:
        """Note what the jobs in the checkpoint replay, which a ledger that was started anew does not know."""
        self._of_cursors = {cursor.job_id: cursor.replayed for cursor in cursors}

    def release(self) -> None:
        """Let go of what no open job replays."""
        names = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        if not names:
            return
        needed = self._ledger.replayed_by_open_jobs()
        for job_id, files in self._of_cursors.items():
            if self._queue.is_open(job_id):
                needed |= {file.job_id for file in files}
        for name in names - needed:
            (self.folder / name).unlink(missing_ok=True)


def choose(candidates: Iterable[Completed], layout: Layout, *, sha256: str) -> list[Completed]:
    """Return the first candidates whose files are there unchanged; each content once, and not `sha256`."""
    return list(islice(_suitable(candidates, layout, sha256), FILES_REPLAYED))


def _suitable(candidates: Iterable[Completed], layout: Layout, sha256: str) -> Iterator[Completed]:
    seen = {sha256}
    folder = layout.finished(Outcome.COMPLETED)
    for candidate in candidates:
        if candidate.file.sha256 not in seen and is_there(folder / candidate.name, candidate.identity):
            seen.add(candidate.file.sha256)
            yield candidate
