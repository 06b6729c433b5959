"""The queue: files in folders, and an index of them in memory so that choosing the next one costs nothing.

Where a file stands is its state. A person may move files between the folders by hand; `look` follows. A file
is recognised by its inode, size and time of change, so a new name or folder does not make it a new job.
"""

import heapq
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from daemon.files.folder import Folder
from daemon.files.identity import Identity, identity_of, is_there, made_new
from daemon.files.kept import give_name
from daemon.files.move_lock import moving
from daemon.files.names import is_temporary, is_training_file
from daemon.jobs.ending import Ending as Ending
from daemon.jobs.found_again import found_again, garbage_left_alone
from daemon.jobs.half_moves import finish_half_moves
from daemon.jobs.queue_index import Entry, Index
from daemon.jobs.reasons import remove_reason, write_reason
from daemon.journal.events import FileMoved, FileRemoved
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import move_all_durably, move_durably
from trainer.protocol.job import Job, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.status import QueueCounts


class JobQueue:
    """The waiting and the processed files of one working directory."""

    def __init__(self, layout: Layout, ledger: Ledger, journal: Journal) -> None:
        self._layout = layout
        self._ledger = ledger
        self._journal = journal
        self._waiting: dict[Priority, dict[str, Entry]] = {priority: {} for priority in Priority}
        self._index = Index()  # of waiting jobs
        self._heap: list[tuple[int, str, str]] = []  # rank, job id, name; outdated ones are dropped when met
        self._processing: dict[str, Entry] = {}
        self._strays: dict[Path, Job] = {}  # what stands where a started file was -> the job of that file
        self._ended: set[str] = set()  # trained to the end, and not yet in a checkpoint
        self._folders = {priority: Folder(layout.waiting(priority)) for priority in Priority}
        self._finished = {outcome: Folder(layout.finished(outcome)) for outcome in Outcome}

    # ---- start

    def recover(self) -> list[Path]:
        """Take over what an earlier daemon left; return the files that must be checked (again)."""
        with moving(self._layout):
            return self._take_over()

    def _take_over(self) -> list[Path]:
        with garbage_left_alone():
            present = finish_half_moves(self._layout, self._journal)
            found = found_again(self._ledger.open_files(), present, self._layout)
            self._waiting, lost, starts = found.waiting, found.lost, found.starts
            waiting = list(self._all_waiting())
            self._index = Index([*waiting, *lost])
            self._heap = [(entry.priority.rank, entry.job_id, entry.name) for entry in waiting]
            heapq.heapify(self._heap)
        unchecked = []
        for path in self._layout.processing.iterdir():
            if is_temporary(path.name) or path.is_dir():
                continue
            identity = identity_of(path.lstat())
            if entry := self._index.take_lost(identity, path.name):
                job = self._job_of(entry).model_copy(update={"name": path.name})
                self._processing[job.id] = Entry.of(job, path, identity, starts.get(job.id))
                self._ledger.place_job(job, "processing")
            elif ending := self._ledger.ending_of(identity):
                self._put_away(path, *ending)  # a crash came between ledger and move
            else:
                unchecked.append(path)
        unchecked += self.look()
        for entry in lost:
            known, job = self._index.find(entry.job_id), self._job_of(entry)
            if known is entry:
                self._index.discard(entry)
                place = self._layout.processing / job.name
                if job.id in starts and place in unchecked:  # it may be that very file, touched
                    self._processing[job.id] = Entry.of(job, place, entry.identity, starts[job.id])
                    self._strays[place] = job
                else:
                    self._note_removed(job)
            elif known and job.id in starts:  # put back by hand, or preempted just before the daemon died
                self._ledger.place_job(self._job_of(known), "waiting")
        return unchecked

    def _put_away(self, path: Path, outcome: Outcome, reason: Reason | None) -> None:
        target = move_durably(path, self._layout.finished(outcome))
        if reason:
            write_reason(target, reason)

    # ---- following the folders

    def look(self) -> list[Path]:
        """Follow what was done to the folders by hand; return the files nobody has checked yet."""
        try:
            return self._look()
        except BaseException:
            for folder in self._folders.values():
                folder.forget()  # so that the next look sees all of it again
            raise

    def _look(self) -> list[Path]:
        unchecked: list[Path] = []
        missing: list[tuple[Priority, str]] = []
        for priority, folder in self._folders.items():
            names = folder.names_if_changed()
            if names is None:
                continue
            entries = self._waiting[priority]
            missing += [(priority, name) for name in entries.keys() - names]
            for name in names - entries.keys():
                unchecked += filter(None, [self.notice(folder.path / name)])
        for priority, name in missing:
            if entry := self._waiting[priority].pop(name, None):
                self._index.discard(entry)
                self._note_removed(self._job_of(entry))
        for entry in list(self._processing.values()):
            self._is_still_there(entry)
        return unchecked + self._present_strays()

    def _is_here(self, entry: Entry) -> bool:
        return entry.is_in_place() or self._find_renamed(entry)

    def _find_renamed(self, entry: Entry) -> bool:
        """Follow a started file to the name that somebody gave it; return whether it is still there."""
        for path in self._layout.processing.iterdir():
            if is_there(path, entry.identity):
                self._follow(entry, path)
                return True
        return False

    def _follow(self, entry: Entry, path: Path) -> None:
        """Note under which name the file of a started job is now."""
        entry.folder, entry.name = path.parent, path.name
        entry.job = self._job_of(entry).model_copy(update={"name": path.name})
        self._ledger.place_job(entry.job, "processing")

    def _is_still_there(self, entry: Entry) -> bool:
        """Whether a started file is there; else note that it was taken out, or what has its place."""
        if self._is_here(entry):
            return True
        if not self._note_stray(entry):
            self._take_out(self._job_of(entry))
        return False

    # ---- strays: files in the places of started ones, touched or replaced

    def _note_stray(self, entry: Entry) -> bool:
        """Note the file that stands where a started one was, to be checked; return whether there is one."""
        path = self._path_of(entry)
        if not os.path.lexists(path) or path.is_dir():
            return False
        self._strays[path] = self._job_of(entry)
        return True

    def _present_strays(self) -> list[Path]:
        for path, job in list(self._strays.items()):
            entry = self._processing.get(job.id)
            if not os.path.lexists(path) or (entry and entry.is_in_place()):
                del self._strays[path]
        return list(self._strays)

    def recognise(self, path: Path, sha256: str, identity: Identity) -> bool:
        """Take a file in `processing/` for the started one that it is by its content, if it is one.

        Its time of change, or even its inode, is another one now: it was touched or copied back.
        """
        for entry in self._processing.values():
            if entry.path == path and entry.identity == identity:
                return True
            if self._job_of(entry).sha256 == sha256 and not self._is_here(entry):
                entry.identity = identity
                self._ledger.identify_job(entry.job_id, identity)
                self._follow(entry, path)
                self._strays.pop(path, None)
                return True
        known = self._ledger.newest_job_of(path.name, sha256)
        if known is None or known.state not in list(Outcome):
            return False
        if is_there(self._layout.finished(Outcome(known.state)) / path.name, known.identity):
            return False  # that job has its file, so this is another one
        self._ledger.identify_job(known.job.id, identity)
        if ending := self._ledger.ending_of(identity):
            self._put_away(path, *ending)
        self._strays.pop(path, None)
        return True

    def make_way(self, path: Path) -> Path:
        """Part a file from the started one whose place it has taken; return where it waits now.

        The started one gets its place back under another name, if it was kept; else it counts as removed.
        """
        job = self._strays.get(path)
        if job is None:
            return path
        entry = self._processing.get(job.id)
        if entry and not self._is_here(entry) and not self._restore(entry):
            self._take_out(job)
        target = move_durably(path, self._layout.waiting(job.priority))
        del self._strays[path]
        return target

    def _restore(self, entry: Entry) -> bool:
        """Give a started file that was replaced its name again, from the files that are kept."""
        kept = self._layout.kept_files / self._job_of(entry).sha256
        if is_there(kept, entry.identity):  # else it was not kept, or is written to
            give_name(kept, self._layout.processing, entry.name)
        return self._find_renamed(entry)

    def _put_back(self, path: Path, identity: Identity) -> bool:
        """Return a started file that somebody moved to a queue folder: it has been trained in part."""
        for entry in self._processing.values():
            if entry.identity == identity and not self._is_here(entry):
                with moving(self._layout):
                    self._follow(entry, move_durably(path, self._layout.processing))
                what = "was started before, so it continues at once"
                self._journal.record(FileMoved(job_id=entry.job_id, file=path.name, what=what))
                return True
        return False

    def notice(self, path: Path) -> Path | None:
        """Follow one change; return a file to be checked.

        The cost does not depend on how many files wait.
        """
        if not is_training_file(path.name):
            return None
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode):
            return None
        priority, identity = Priority(path.parent.name), identity_of(found)
        if known := self._waiting[priority].get(path.name):
            if not known.identity.has_changed_to(identity):
                return None
            self._take_out(self._job_of(known))  # now, so that lists show its new place
            return path
        entry = self._index.take_lost(identity, path.name)
        if entry is None:
            return None if self._put_back(path, identity) else path
        successor = None  # another file that has taken the name this one had before
        if entry.path:
            self._waiting[entry.priority].pop(entry.name, None)
            successor = entry.path if entry.path.exists() else None
        job = self._job_of(entry)
        if (job.name, job.priority) != (path.name, priority):
            job = job.model_copy(update={"name": path.name, "priority": priority})
            self._ledger.place_job(job, "waiting")
        self._insert(Entry.of(job, path, identity))
        return successor

    def _note_removed(self, job: Job) -> None:
        self._ledger.place_job(job, "removed")
        self._journal.record(FileRemoved(job_id=job.id, file=job.name))

    def _take_out(self, job: Job) -> None:
        self._forget(job)
        self._note_removed(job)

    # ---- jobs

    def add(self, job: Job, path: Path, identity: Identity) -> None:
        """Take in a checked file that lies in the folder of its priority."""
        self._ledger.add_job(job, identity, "waiting")
        self._insert(Entry.of(job, path, identity))
        failpoint("queue.added")

    def adopt(self, job: Job, path: Path, identity: Identity) -> None:
        """Take in a checked file that lies in `processing/`."""
        self._ledger.add_job(job, identity, "processing")
        self._processing[job.id] = Entry.of(job, path, identity)

    def _insert(self, entry: Entry) -> None:
        self._waiting[entry.priority][entry.name] = entry
        self._index.add(entry)
        heapq.heappush(self._heap, (entry.priority.rank, entry.job_id, entry.name))

    def next(self) -> Job | None:
        """Return the job to be trained next: the one started first, else the most urgent, else the oldest.

        After a crash the started ones are trained again in the order of their starts, so that the model
        becomes what it would have become without the crash.
        """
        unsure = {job.id for job in self._strays.values()}  # until it is known what stands in their places
        if started := [job for job in self.started() if job.id not in unsure]:
            return started[0]
        upcoming = self.upcoming()
        return upcoming[0] if upcoming else None

    def upcoming(self) -> tuple[Job, Path] | None:
        """Return the waiting job that would be started next, with its file."""
        while self._heap:
            rank, job_id, name = self._heap[0]
            entry = self._waiting[list(Priority)[rank]].get(name)
            if entry and entry.job_id == job_id:
                return self._job_of(entry), self._path_of(entry)
            heapq.heappop(self._heap)
        return None

    def is_open(self, job_id: str) -> bool:
        """Whether a job still waits or is being processed."""
        return self.find(job_id) is not None

    def has_given_away(self, job_id: str, identity: Identity) -> bool:
        """Whether a file was that of a job until somebody put it back to be trained as a new one."""
        known = self._ledger.find_job(job_id)
        return known is not None and made_new(known.identity) == identity

    def is_waiting(self, job_id: str) -> bool:
        """Whether a job waits in the folder of its priority."""
        return self._index.find(job_id) is not None

    def find(self, job_id: str) -> Job | None:
        """Return a job that waits or is being processed."""
        entry = self._processing.get(job_id) or self._index.find(job_id)
        return self._job_of(entry) if entry else None

    def started(self) -> list[Job]:
        """Return the jobs that were started and are not trained to the end, in the order of their starts."""
        return [job for job in self.processing() if job.id not in self._ended]

    def processing(self) -> list[Job]:
        """Return the jobs whose files lie in `processing/`, in the order in which they were started."""
        return [self._job_of(entry) for entry in sorted(self._processing.values(), key=Entry.start_key)]

    def start(self, job: Job) -> tuple[Job, Path] | None:
        """Move a job's file to `processing/`, if it is not there, and note that it was started.

        Returns:
            The job with the file's path; None if the file has vanished, or has been changed or replaced. Then
            it is one to be checked again.
        """
        entry = self._processing.get(job.id) or self._take_up(job)
        if entry is None or not self._is_still_there(entry):
            return None
        if entry.start_number is None:
            entry.start_number = self._ledger.note_start(self._job_of(entry))
        return self._job_of(entry), self._path_of(entry)

    def _take_up(self, job: Job) -> Entry | None:
        entry = self._waiting[job.priority][job.name]
        with moving(self._layout):
            if not entry.is_in_place():  # what lies under its name has never been checked
                self._folders[job.priority].forget()
                self._take_out(job)
                return None
            try:
                path = move_durably(self._path_of(entry), self._layout.processing)
            except FileNotFoundError:
                self._take_out(job)
                return None
        failpoint("queue.started")
        self._forget(job)
        job = job.model_copy(update={"name": path.name})
        self._processing[job.id] = started = Entry.of(job, path, entry.identity)
        return started

    def preempt(self, job_id: str) -> None:
        """Have a started job wait again under its id: its file goes back to the folder of its priority."""
        if entry := self._processing.get(job_id):
            if not self._is_still_there(entry):
                return
            job = self._job_of(entry)
            try:
                path = move_durably(self._path_of(entry), self._layout.waiting(job.priority))
            except FileNotFoundError:
                self._take_out(job)
                return
            self._forget(job)
            self._insert(Entry.of(job.model_copy(update={"name": path.name}), path, entry.identity))
        if waiting := self._index.find(job_id):  # apart, so that what failed here can be done again
            self._ledger.place_job(self._job_of(waiting), "waiting")

    def reopen(self, job_id: str) -> str | None:
        """Let an ended job wait again under its id; return its name, None if its file is gone."""
        if waiting := self._index.find(job_id):  # it has moved, and noting that failed
            self._ledger.place_job(self._job_of(waiting), "waiting")
            return waiting.name
        known = self._ledger.find_job(job_id)
        if known is None or known.state not in list(Outcome):
            return None
        job = known.job
        path = self._layout.finished(Outcome(known.state)) / job.name
        with moving(self._layout):
            if not is_there(path, known.identity):  # another file may have the name now
                return None
            try:
                path = move_durably(path, self._layout.waiting(job.priority))
            except FileNotFoundError:
                return None
        remove_reason(self._layout.finished(Outcome(known.state)) / job.name)
        job = job.model_copy(update={"name": path.name})
        self._insert(Entry.of(job, path, known.identity))
        self._ledger.place_job(job, "waiting")
        return job.name

    def hold_until_saved(self, job_id: str) -> None:
        """A job got its last step: it is not chosen again, and its file stays until a checkpoint has it."""
        self._ended.add(job_id)

    def release_unsaved(self) -> None:
        """The worker is gone: what it had not saved must be trained again."""
        self._ended.clear()

    def finish(self, endings: Sequence[Ending]) -> None:
        """Move files to the folders of their outcomes.

        Those that have a reason get a `NAME.reason.json` beside them.
        """
        # A file that was taken out of processing/ by hand has no job any more
        endings = [ending for ending in endings if self.is_open(ending.job.id)]
        for ending in endings:
            is_known = self._ledger.state_of(ending.job.id) == ending.outcome  # noted before a failed commit
            self._ledger.finish_job(ending.job, ending.outcome.value, ending.record, ending.reason)
            if not is_known:
                self._journal.record(ending.event())
        self._ledger.commit()  # states and events in one transaction
        failpoint("queue.ended")
        for ending in list(endings):
            if self._has_stray(ending.job):  # it is put away when it is known which file is its own
                self._forget(ending.job)
                endings.remove(ending)
        moves = []
        for ending in endings:
            path = self._path(ending.job)
            moves.append((path, self._layout.finished(ending.outcome), path.name))
        moved = list(zip(endings, move_all_durably(moves), strict=True))
        failpoint("queue.put_away")
        for ending, target in moved:
            self._forget(ending.job)
            if target is None:
                self._note_removed(ending.job)
            elif target.name != ending.job.name:
                self._ledger.rename_job(ending.job.id, target.name)
        for ending, target in moved:  # last, because on a full disk this fails where a move does not
            if target and ending.reason:
                write_reason(target, ending.reason)

    def _has_stray(self, job: Job) -> bool:
        entry = self._processing.get(job.id)
        return entry is not None and not self._is_here(entry) and self._note_stray(entry)

    def _forget(self, job: Job) -> None:
        self._ended.discard(job.id)
        if self._processing.pop(job.id, None) is None:
            entry = self._waiting[job.priority].pop(job.name)
            self._index.discard(entry)

    def _path(self, job: Job) -> Path:
        return self._path_of(self._processing.get(job.id) or self._waiting[job.priority][job.name])

    @staticmethod
    def _path_of(entry: Entry) -> Path:
        path = entry.path
        assert path is not None, entry  # only entries of `recover` have none, and it resolves them
        return path

    def _job_of(self, entry: Entry) -> Job:
        if entry.job is None:
            known = self._ledger.find_job(entry.job_id)
            assert known is not None, entry  # a row of a job is never removed
            entry.job = known.job
        return entry.job

    def _all_waiting(self) -> Iterator[Entry]:
        return chain.from_iterable(entries.values() for entries in self._waiting.values())

    # ---- counts

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._processing)

    def num_waiting(self) -> tuple[int, ...]:
        """Return how many files of each priority wait, the most urgent first. Reads no folder."""
        return tuple(len(self._waiting[priority]) for priority in Priority)

    def rows_left(self, *, besides: str | None) -> tuple[int, int]:
        """Return how many files are still to be trained, and how many of their rows.

        Args:
            besides: id of a job that is not counted.
        """
        started = (entry for entry in self._processing.values() if entry.job_id not in self._ended)
        trained = self._ledger.trained_rows()
        rows = [
            max(0, entry.rows - trained.get(entry.job_id, 0))
            for entry in chain(self._all_waiting(), started)
            if entry.job_id != besides
        ]
        return len(rows), sum(rows)

    def counts(self) -> QueueCounts:
        """Return how many files lie in each folder."""
        return QueueCounts(
            high=len(self._waiting[Priority.HIGH]),
            normal=len(self._waiting[Priority.NORMAL]),
            low=len(self._waiting[Priority.LOW]),
            processing=len(self._processing),
            failed=self._finished[Outcome.FAILED].count_files(),
            skipped=self._finished[Outcome.SKIPPED].count_files(),
            recently_completed=self._finished[Outcome.COMPLETED].count_files(),
        )
