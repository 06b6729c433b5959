"""How a file is put away."""

from dataclasses import dataclass

from daemon.journal.events import JobFinished
from trainer.protocol.job import Job, JobRecord, Outcome, Reason


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a file is put away."""

    job: Job
    outcome: Outcome
    record: JobRecord | None = None
    reason: Reason | None = None

    def event(self) -> JobFinished:
        """Return what the journal is to say of it."""
        return JobFinished(
            job_id=self.job.id,
            file=self.job.name,
            outcome=self.outcome.value,
            rows=self.record.rows_trained if self.record else None,
            steps=self.record.steps if self.record else None,
            reason=self.reason.message if self.reason else None,
        )
