"""What it means for the files that the model goes back: plan it, and carry it out.

The newest checkpoint says that the model went back, and what becomes of which job; the ledger and the queue
follow it, however often that is interrupted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for, reason_of
from daemon.jobs.wishes import Requeue
from daemon.journal.events import ModelWentBack
from daemon.journal.journal import Journal
from daemon.ledger.branch_steps import take_in_branch
from daemon.ledger.ledger import Ledger
from daemon.ledger.trained_files import (
    TrainedStretches,
    read_files_on,
    read_trained_files,
    started_by,
    unfollowed_branches,
)
from trainer.protocol.branch_path import path_of, path_to, shared_step
from trainer.protocol.forgetting import branch_file, erased_unseen
from trainer.protocol.job import FaultKind, Job, JobRecord, Outcome
from trainer.protocol.manifest import Branch, JobFate, Manifest
from trainer.protocol.text import shell_word

ENDLESS = 1 << 62


@dataclass(frozen=True, kw_only=True)
class AffectedFile:
    """A file of which the model loses or regains steps."""

    job_id: str
    name: str
    """Printable."""
    first_step: int
    """The first of these steps, of the model's life."""
    last_step: int
    fate: Literal["undone", "requeued", "trained", "continues"]
    """undone: put away. requeued: trained again. trained: the model has all of it again. continues: it is
    trained on from where the model has it."""
    keeps_steps: bool = False
    """Whether earlier steps of a file that is undone stay in the model."""

    @property
    def as_fate(self) -> JobFate:
        return JobFate(job_id=self.job_id, fate=self.fate)


def affected_files(
    ledger_file: Path, newest: Manifest, target: Manifest, requeue: Requeue
) -> list[AffectedFile]:
    """Return the files that lose or regain steps if the model goes to a target, in the order of training.

    Raises:
        UnreadableLedger: it cannot be read, or has to follow first.
    """
    there = path_to(target.branch, target.progress.global_step, newest.branches)
    shared = shared_step(path_of(newest), there)
    regained = {
        file.job_id: _affected(file, "continues" if file.job_id in target.progress.cursors else "trained")
        for file in read_files_on(ledger_file, there, after=shared, newest=newest)
    }
    lost = [
        _affected(file, "requeued" if requeue.wants(file) else "undone")
        for file in _trained_after(ledger_file, shared, newest)
        if file.job_id not in regained
    ]
    started = started_by(ledger_file, shared, [file.job_id for file in lost if file.fate == "undone"])
    return [*(replace(file, keeps_steps=file.job_id in started) for file in lost), *regained.values()]


def _trained_after(ledger_file: Path, step: int, newest: Manifest) -> list[TrainedStretches]:
    if unfollowed_branches(ledger_file, newest):
        return read_files_on(ledger_file, path_of(newest), after=step, newest=newest)
    # Of a worker that was killed, the ledger may have steps that no checkpoint has
    return read_trained_files(ledger_file, after=step, until=ENDLESS)


def _affected(
    file: TrainedStretches, fate: Literal["undone", "requeued", "trained", "continues"]
) -> AffectedFile:
    return AffectedFile(
        job_id=file.job_id,
        name=file.name,
        first_step=file.first_step,
        last_step=file.last_step,
        fate=fate,
    )


class Follower:
    """Has the ledger and the queue follow a model that went back; see `daemon.jobs.follow_branches`."""

    def __init__(self, models: Path, queue: JobQueue, ledger: Ledger, journal: Journal) -> None:
        self._models = models
        self._queue = queue
        self._ledger = ledger
        self._journal = journal

    def follow(
        self, branches: Sequence[Branch], *, cursors: Collection[str], finished: Sequence[JobRecord]
    ) -> None:
        """Carry out what the newest checkpoint says of each branch, unless that is done."""
        records = {record.job_id: record for record in finished}
        noted, followed = self._ledger.branches.newest(), self._ledger.branches.newest_followed()
        for branch in branches:
            if branch.number > noted:
                self._ledger.branches.begin(branch, branches)
                take_in_branch(self._ledger, branch, branch_file(self._models, branch.number), cursors)
            if branch.number > followed:
                self._follow(branch, cursors, records)

    def follow_erased(self) -> None:
        """Note which files were erased that no branch tells of, because the model had never seen them."""
        for path, note in erased_unseen(self._models):
            for job_id in note.job_ids:
                self._ledger.forget_job(job_id, note.reason)
            self._ledger.commit()
            path.unlink(missing_ok=True)

    def _follow(self, branch: Branch, cursors: Collection[str], records: Mapping[str, JobRecord]) -> None:
        lost = [self._place(job, branch, cursors, records) for job in branch.jobs]
        self._ledger.branches.note_followed(branch.number)  # last: until then, all of this is done again
        self._journal.record(
            ModelWentBack(
                branch=branch.number,
                from_step=branch.from_step,
                left_step=branch.left_step,
                why=branch.why,
                reason=branch.reason,
                files=tuple(filter(None, lost)),
            )
        )
        self._ledger.commit()
        branch_file(self._models, branch.number).unlink(missing_ok=True)  # the ledger has it all

    def _place(
        self, fate: JobFate, branch: Branch, cursors: Collection[str], records: Mapping[str, JobRecord]
    ) -> str | None:
        """Bring a file to where it belongs; return its name if the model lost steps of it."""
        if fate.fate == "forgotten":  # its file was erased when the branch was published
            known = self._ledger.find_job(fate.job_id)
            self._ledger.forget_job(fate.job_id, branch.reason)
            return known.job.name if known else None
        if not self._queue.is_open(fate.job_id):
            self._queue.reopen(fate.job_id)
        job = self._queue.find(fate.job_id)
        if job is None:  # its file is gone, or is where it belongs
            return None
        match fate.fate:
            case "undone":
                self._queue.finish([self._ending(job, branch)])
            case "trained":
                self._queue.finish([self._ending_before(job, records.get(job.id))])
            case "requeued" if job.id not in cursors:
                self._ledger.freeze_settings(job.id, None)  # it starts anew, with the settings of then
        return job.name if fate.fate in ("undone", "requeued") else None

    def _ending_before(self, job: Job, record: JobRecord | None) -> Ending:
        """Return how a file had ended of which the model has all steps again."""
        if record is None:  # a manifest names the newest only
            return Ending(job=job, outcome=Outcome.COMPLETED)
        reason = reason_of(job, record, at=self._journal.now_text())
        return Ending(job=job, outcome=record.outcome, record=record, reason=reason)

    def _ending(self, job: Job, branch: Branch) -> Ending:
        at, steps = self._journal.now_text(), f"from step {branch.left_step} to step {branch.from_step}"
        if branch.why == "gate":
            message = (
                f"regression: {branch.reason}; the model went back {steps}; to train this file all the same: "
                f"training_queue retry {_typed(Outcome.FAILED, job)} --admit"
            )
            reason = reason_for(job, FaultKind.REGRESSION, message, at=at)
            return Ending(job=job, outcome=Outcome.FAILED, reason=reason)
        again = f"to train this file again: training_queue retry {_typed(Outcome.SKIPPED, job)}"
        kept = ", and keeps its first steps" if self._ledger.branches.has_steps(job.id) else ""
        message = f"undone: the model went {steps}{kept} ({branch.reason}); {again}"
        reason = reason_for(job, FaultKind.REQUEST, message, at=at)
        return Ending(job=job, outcome=Outcome.SKIPPED, reason=reason)


def _typed(outcome: Outcome, job: Job) -> str:
    """Return a file as it is typed where others of its name may have ended otherwise."""
    return shell_word(f"{outcome}/{job.name}")
