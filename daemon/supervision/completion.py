"""Completion of a job: from its last step until a durable checkpoint contains it and its file moves."""

from collections.abc import Iterable

from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for, reason_of
from daemon.journal.events import JobReopened, TrainingEnded, TrainingFailed
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from trainer.protocol.failpoints import failpoint
from trainer.protocol.job import FaultKind, Job, JobRecord, Outcome, Reason
from trainer.protocol.messages import JobEnded, WorkerReady
from trainer.protocol.text import num_of


class Completions:
    """What ended with the present worker, and how files are put away."""

    def __init__(self, queue: JobQueue, ledger: Ledger, journal: Journal) -> None:
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._unsaved: set[str] = set()
        self._reasons: dict[str, Reason] = {}
        self.failed_files = 0
        """Files that the worker has found bad."""

    @property
    def has_unsaved(self) -> bool:
        """A finished file waits for the checkpoint that contains it."""
        return bool(self._unsaved)

    def ended(self, job: Job, event: JobEnded) -> None:
        """Note that a job gets no further step; its file moves now only if there is nothing to save."""
        record = event.record
        self._ledger.end_attempt(job.id, record.outcome.value, record.message, is_charged=False)
        if event.fault:
            self._reasons[job.id] = self._reason(job, event.fault, record)
        if event.durable:
            self._put_away([(job, record)])
        else:
            self._queue.hold_until_saved(job.id)
            self._unsaved.add(job.id)

    def saved(self, records: Iterable[JobRecord]) -> None:
        """Put the files away that a durable checkpoint contains."""
        records = list(records)
        started = {job.id: job for job in self._queue.processing()}
        self._put_away([(started[record.job_id], record) for record in records if record.job_id in started])
        self._unsaved.difference_update(record.job_id for record in records)

    def reopen_untrained(self, ready: WorkerReady) -> None:
        """An older checkpoint had to be taken: files whose steps it does not have must be trained again."""
        finished = {record.job_id for record in ready.finished}
        for job_id in self._ledger.completed_after(ready.global_step):
            if job_id in finished:
                continue
            name = self._queue.reopen(job_id)
            self._journal.record(JobReopened(job_id=job_id, file=name, is_there=name is not None))

    def drop_unsaved(self) -> None:
        """The worker is gone: what it had not saved must be trained again, and may end otherwise."""
        self._unsaved.clear()
        self._reasons.clear()
        self._queue.release_unsaved()

    def _put_away(self, ended: list[tuple[Job, JobRecord]]) -> None:
        endings = []
        for job, record in ended:
            reason = self._reasons.get(job.id)
            if reason is None:
                reason = reason_of(job, record, at=self._journal.now_text())
            endings.append(Ending(job=job, outcome=record.outcome, record=record, reason=reason))
        if endings:
            failpoint("supervisor.saved")
            self._queue.finish(endings)
            failpoint("supervisor.put_away")
        for ending in endings:  # only now: had it failed, it would be tried again
            self._reasons.pop(ending.job.id, None)
            self._unsaved.discard(ending.job.id)
            self.failed_files += ending.outcome is Outcome.FAILED

    def _reason(self, job: Job, kind: FaultKind, record: JobRecord) -> Reason:
        message = record.message or str(record.outcome)
        return reason_for(job, kind, message, at=self._journal.now_text(), attempts=1)


def ended_event(job: Job, event: JobEnded, *, loss: float | None) -> TrainingEnded:
    """Return the event that says how a job ended.

    Args:
        loss: of the newest step.
    """
    record = event.record
    counts = (
        (event.truncated_rows, "cut off at data.max_length"),
        (event.split_rows, "split at data.max_length"),
        (event.dropped_rows, "dropped for being longer than data.max_length"),
        (event.rows_without_target, "untrainable: no supervised token within data.max_length"),
    )
    since = f" (from step {event.counted_from_step:,} on)" if event.counted_from_step else ""
    ended = TrainingEnded(
        job_id=job.id,
        file=job.name,
        outcome=record.outcome.value,
        rows=record.rows_trained,
        steps=record.steps,
        loss=loss,
        remarks=tuple(f"{num_of(number, 'row')} {what}{since}" for number, what in counts if number),
    )
    if record.outcome is not Outcome.FAILED:
        return ended
    return TrainingFailed(**vars(ended), reason=record.message or "")
