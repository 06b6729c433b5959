"""Retry after a crash: which job is charged, what the next attempt does differently, when to give up."""

from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for
from daemon.journal.events import JobGivenUp, MicroBatchHalved, StepsLeftOut
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.supervision.verdict import Verdict
from trainer.config.schema import Settings
from trainer.protocol.job import FaultKind, Job, Outcome, Window

WINDOWS_LEFT_OUT = 2  # a file with not-finite losses in more places than that is at fault as a whole
LINES_NAMED = 20


class Retries:
    """Settles with the queue and the ledger what the ends of workers mean."""

    def __init__(self, queue: JobQueue, ledger: Ledger, journal: Journal) -> None:
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self.failed_files = 0
        """Files that were given up."""

    def settle(self, job: Job, verdict: Verdict, *, may_blame_file: bool, max_attempts: int) -> None:
        """End the attempt, and have the job pay for it if it is to blame.

        It pays with one of its attempts, or with the steps that brought the worker down.
        """
        kind = verdict.kind
        is_charged = may_blame_file and kind is not None and kind.blames_file
        attempts = self._ledger.end_attempt(
            job.id, kind.value if kind else "interrupted", verdict.message, is_charged=is_charged
        )
        if kind is FaultKind.BAD_CONFIG:
            self._ledger.freeze_settings(job.id, None)  # so that corrected settings reach the job
        if kind is FaultKind.NAN and may_blame_file:
            self._leave_out(job, verdict)
        elif kind and is_charged and attempts >= max_attempts:
            self._give_up(job, kind, verdict, verdict.message, attempts)
        elif kind and is_charged and kind.is_out_of_memory:
            self._halve_micro_batch(job)

    def _leave_out(self, job: Job, verdict: Verdict) -> None:
        """Have the next worker leave out the steps that were not finite; give up when they are too many."""
        earlier = self._ledger.retry_hints(job.id).left_out
        window = verdict.left_out
        if window is None or len(earlier) >= WINDOWS_LEFT_OUT:
            message = self._why_hopeless(job, verdict, earlier)
            self._give_up(job, FaultKind.NAN, verdict, message, attempts=len(earlier) + 1)
            return
        self._ledger.leave_out(job.id, window)
        self._journal.record(
            StepsLeftOut(job_id=job.id, file=job.name, steps=self._name(job, window), reason=verdict.message)
        )

    def _why_hopeless(self, job: Job, verdict: Verdict, earlier: tuple[Window, ...]) -> str:
        text = verdict.message
        if verdict.left_out:
            text += f" ({self._name(job, verdict.left_out)})"
        if earlier:
            text += f"; left out before: {', '.join(map(_steps, earlier))}"
        return text

    def _name(self, job: Job, window: Window) -> str:
        lines = self._ledger.lines_not_applied(job.id, window)
        if not lines:
            return _steps(window)
        more = f" and {len(lines) - LINES_NAMED} more" if len(lines) > LINES_NAMED else ""
        return f"{_steps(window)} with lines {', '.join(map(str, lines[:LINES_NAMED]))}{more}"

    def _halve_micro_batch(self, job: Job) -> None:
        frozen = Settings.model_validate(self._ledger.frozen_settings(job.id) or {})
        tokens = self._ledger.retry_hints(job.id).micro_batch_tokens or frozen.training.micro_batch_tokens
        halved = None
        if tokens != "auto":  # else it crashed before it had a number, so there is none to halve
            halved = max(1, tokens // 2)
            self._ledger.limit_micro_batch(job.id, halved)
        before = None if halved is None else int(tokens)
        self._journal.record(
            MicroBatchHalved(job_id=job.id, file=job.name, before_tokens=before, tokens=halved)
        )

    def _give_up(self, job: Job, kind: FaultKind, verdict: Verdict, message: str, attempts: int) -> None:
        at = self._journal.now_text()
        reason = reason_for(job, kind, message, at=at, attempts=attempts, details=verdict.details)
        self._queue.finish([Ending(job=job, outcome=Outcome.FAILED, reason=reason)])
        self.failed_files += 1
        self._journal.record(JobGivenUp(job_id=job.id, file=job.name, attempts=attempts, reason=message))


def _steps(window: Window) -> str:
    """Name steps as the reports count them, from 1."""
    first, last = window.first + 1, window.last + 1
    return f"step {first}" if first == last else f"steps {first} to {last}"
