"""What it means for the files that the model goes back to an earlier step: plan it, and carry it out.

The newest checkpoint says that the model went back, and what is to become of which job; the queue and the
ledger follow it, however often that is interrupted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for
from daemon.journal.events import ModelWentBack
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.ledger.trained_files import TrainedStretches, read_trained_files
from trainer.protocol.job import FaultKind, Job, Outcome
from trainer.protocol.manifest import Branch, UndoneJob

ENDLESS = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Requeue:
    """Which files are trained again after the model went back."""

    is_wanted: bool = False
    without: Collection[str] = ()
    """Names or job ids of those that are not."""

    def wants(self, file: TrainedStretches) -> bool:
        """Whether a file is trained again."""
        return self.is_wanted and not {file.name, file.job_id} & set(self.without)


@dataclass(frozen=True, kw_only=True)
class UndoneFile:
    """A file whose steps the model will have no more, all or the last of them."""

    job_id: str
    name: str
    """Printable."""
    first_step: int
    """The first that is undone, of the model's life."""
    last_step: int
    requeue: bool


def undone_files(ledger_file: Path, *, step: int, requeue: Requeue) -> list[UndoneFile]:
    """Return the files that lose steps if the model goes back to a global step, in the order of training.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    return [
        UndoneFile(
            job_id=file.job_id,
            name=file.name,
            first_step=file.first_step,
            last_step=file.last_step,
            requeue=requeue.wants(file),
        )
        for file in read_trained_files(ledger_file, after=step, until=ENDLESS)
    ]


class FollowBranches:
    """Has the queue and the ledger follow a model that went back."""

    def __init__(self, queue: JobQueue, ledger: Ledger, journal: Journal) -> None:
        self._queue = queue
        self._ledger = ledger
        self._journal = journal

    def follow(self, branches: Sequence[Branch], cursors: Collection[str]) -> None:
        """Carry out what the newest checkpoint says, unless that is done.

        Args:
            cursors: ids of jobs of which the checkpoint has the first steps.
        """
        done = self._ledger.branches.newest()
        for branch in branches:
            if branch.number > done:
                self._follow(branch, cursors)

    def _follow(self, branch: Branch, cursors: Collection[str]) -> None:
        names = [name for undone in branch.undone if (name := self._undo(undone, branch, cursors))]
        self._ledger.go_back(branch)  # last: until it is noted, all of this is done again
        self._journal.record(
            ModelWentBack(
                branch=branch.number,
                from_step=branch.from_step,
                left_step=branch.left_step,
                why=branch.why,
                reason=branch.reason,
                files=tuple(names),
            )
        )
        self._ledger.commit()

    def _undo(self, undone: UndoneJob, branch: Branch, cursors: Collection[str]) -> str | None:
        """Have a file wait again, or put it away; return its name if it is to be found."""
        if not self._queue.is_open(undone.job_id):
            self._queue.reopen(undone.job_id)
        job = self._queue.find(undone.job_id)
        if job is None:
            return None
        if not undone.requeue:
            self._put_away(job, branch)
        elif undone.job_id not in cursors:
            self._ledger.freeze_settings(job.id, None)  # it starts anew, with the settings of then
        return job.name

    def _put_away(self, job: Job, branch: Branch) -> None:
        message = (
            f"undone: the model went back from step {branch.left_step} to step {branch.from_step} "
            f"({branch.reason}); to train this file again: training_queue retry"
        )
        reason = reason_for(job, FaultKind.REQUEST, message, at=self._journal.now_text())
        self._queue.finish([Ending(job=job, outcome=Outcome.SKIPPED, reason=reason)])
