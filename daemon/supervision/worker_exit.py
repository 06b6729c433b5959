"""What follows from a worker's exit: its job's attempt ends, and the next start is planned."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.journal.events import (
    JournalEvent,
    TrainingBlocked,
    TrainingUnblocked,
    WorkerCrashed,
    WorkerFailed,
    WorkerLeft,
    WorkerNotFinite,
)
from daemon.journal.journal import Journal
from daemon.ledger.crash_rows import Crash
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from daemon.supervision.completion import Completions
from daemon.supervision.lost_steps import forget_lost_steps
from daemon.supervision.retry import Retries
from daemon.supervision.verdict import Verdict, backoff_s
from daemon.supervision.worker_record import WorkerRecord
from daemon.supervision.worker_state import Absent, Busy, ShuttingDown
from trainer.config.schema import DaemonSettings
from trainer.protocol.job import FaultKind, Job
from trainer.protocol.text import printable


@dataclass(frozen=True, kw_only=True)
class NextStart:
    """When the next worker may start."""

    wait_s: float = 0.0
    blocked: str | None = None
    """Why it cannot start before something outside changes."""
    is_failure: bool = False
    """One more crash in a row."""


def plan_next_start(verdict: Verdict, *, has_job: bool, failures: int, settings: DaemonSettings) -> NextStart:
    """Say when a worker that ended is replaced.

    Args:
        failures: crashes in a row before this one.
    """
    match verdict.kind:
        case None:
            # Whoever asked it to leave may be about to end the daemon, too
            is_short = verdict.was_preempted
            return NextStart(wait_s=backoff_s(1, maximum_s=settings.backoff_max_s) if is_short else 0.0)
        case FaultKind.ENVIRONMENT | FaultKind.BAD_CONFIG:
            return NextStart(wait_s=settings.blocked_retry_s, blocked=verdict.reason)
        case FaultKind.NAN if has_job:
            return NextStart()  # at once: the next try is another one
        case _:
            wait_s = backoff_s(failures + 1, maximum_s=settings.backoff_max_s)
            return NextStart(wait_s=wait_s, is_failure=True)


class WorkerExit:
    """Carries out what follows from an exit, part by part: what a full disk prevents is done next turn.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        board: StatusBoard,
        completions: Completions,
        retries: Retries,
        record: WorkerRecord,
        *,
        models: Path,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._board = board
        self._completions = completions
        self._retries = retries
        self._worker = record
        self._models = models
        self._clock = clock
        self._parts: deque[Callable[[], object]] = deque()

    def carry_out(self, verdict: Verdict) -> None:
        """Do everything that follows from an exit, or the rest of it.

        Raises:
            OSError, sqlite3.Error: a part failed; call again with the same verdict.
        """
        if not self._parts:
            self._parts.extend(self._parts_of(verdict))
        while self._parts:
            self._parts[0]()
            self._parts.popleft()

    def _parts_of(self, verdict: Verdict) -> list[Callable[[], object]]:
        before = self._worker.state
        busy_with = before.job_id if isinstance(before, Busy | ShuttingDown) else None
        job = self._worker.jobs.get(busy_with) if busy_with else None
        own = self._worker.settings.daemon
        start = plan_next_start(
            verdict, has_job=job is not None, failures=self._worker.failures, settings=own
        )
        settle = partial(
            self._retries.settle, may_blame_file=isinstance(before, Busy), max_attempts=own.max_attempts
        )
        return [
            lambda: self._note_crash(verdict, job),
            lambda: self._journal.record(_exit_event(verdict, job, start)),
            self._forget_worker,
            lambda: settle(job, verdict) if job else None,  # which asks what was found in the lost steps
            lambda: self._forget_lost_steps() if verdict.kind else None,
            lambda: self._wait_for(start),
        ]

    def _note_crash(self, verdict: Verdict, job: Job | None) -> None:
        if verdict.kind is None:
            return
        reached = self._worker.progress
        self._ledger.add_crash(
            Crash(
                kind=verdict.kind,
                message=verdict.message,
                details=verdict.details,
                job_id=job.id if job else None,
                display=printable(job.name) if job else None,
                global_step=reached.global_step,
                file_step=reached.file_step if job else None,
            )
        )

    def _forget_worker(self) -> None:
        if self._worker.blocked:
            self._journal.record(TrainingUnblocked())
        self._worker.forget()
        self._completions.drop_unsaved()
        self._board.job_ended()
        self._board.set(worker_pid=None, worker_section=None)

    def _forget_lost_steps(self) -> None:
        self._worker.lost_steps += forget_lost_steps(self._models, self._ledger, self._board)

    def _wait_for(self, start: NextStart) -> None:
        self._worker.failures += start.is_failure
        self._worker.has_crashed = self._worker.has_crashed or start.is_failure
        self._worker.state = Absent(self._clock() + start.wait_s if start.wait_s else 0.0)
        self._worker.blocked = start.blocked
        if start.blocked is not None:
            self._worker.has_been_blocked = True
            self._journal.record(TrainingBlocked(reason=start.blocked))


def _exit_event(verdict: Verdict, job: Job | None, start: NextStart) -> JournalEvent:
    job_id, file = (job.id, job.name) if job else (None, None)
    if verdict.kind is None:
        return WorkerLeft(job_id=job_id, file=file, reason=verdict.message)
    if start.blocked is not None:
        return WorkerFailed(job_id=job_id, file=file, reason=verdict.message)
    kind = WorkerCrashed if start.is_failure else WorkerNotFinite
    return kind(
        job_id=job_id,
        file=file,
        reason=verdict.message,
        fault=verdict.kind.value,
        restart_in_s=start.wait_s,
    )
