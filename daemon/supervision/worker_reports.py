"""What follows from what the worker reports: history, status, and files that a checkpoint now contains.

A file leaves `processing/` only when the worker has reported that a durable checkpoint contains it.
"""

from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.replay import Replays
from daemon.journal.events import (
    CheckpointSaved,
    GatePassed,
    GateRefused,
    LossFinite,
    LossNotFinite,
    ModelLoaded,
    RowsInspected,
    StepNotApplied,
    TrainingPreempted,
    TrainingStarted,
    TrainingUnblocked,
    WorkerBlocked,
    WorkerNotice,
    WorkerRecovered,
)
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from daemon.status.data_reports import summary, write_report
from daemon.supervision.completion import Completions, ended_event
from daemon.supervision.worker_record import WorkerRecord
from daemon.supervision.worker_state import Busy, Ready, ShuttingDown
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import Job
from trainer.protocol.layout import Layout
from trainer.protocol.messages import (
    Blocked,
    CheckpointPublished,
    Continued,
    DataChecked,
    Evaluated,
    Event,
    Faulted,
    GateJudged,
    Heartbeat,
    Held,
    JobEnded,
    JobPreempted,
    JobStarted,
    Leaving,
    Notice,
    PreviewMade,
    StepReport,
    StepsTaken,
    SuiteScored,
    Unblocked,
    Validated,
    WorkerReady,
)
from trainer.protocol.text import num_of


class WorkerReports:
    """Takes in the worker's events, one by one.

    Whatever can fail comes first and may be done again; counting and recording come last, to happen once.
    """

    def __init__(
        self,
        layout: Layout,
        queue: JobQueue,
        ledger: Ledger,
        journal: Journal,
        board: StatusBoard,
        completions: Completions,
        replays: Replays,
        record: WorkerRecord,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._board = board
        self._completions = completions
        self._replays = replays
        self._worker = record
        self._branches = FollowBranches(layout.models, queue, ledger, journal)

    def take(self, event: Event) -> None:
        """Do what follows from one event.

        Raises:
            OSError, sqlite3.Error: disk or ledger failed; the same event is to be taken again.
        """
        match event:
            case WorkerReady():
                self._on_ready(event)
            case Heartbeat():
                self._worker.loading_detail = event.detail or self._worker.loading_detail
                self._board.set(worker_section=event.section)
            case DataChecked():
                self._on_data_checked(event)
            case JobStarted():
                self._on_job_started(event)
            case StepsTaken():
                self._on_steps(event.steps)
            case Validated():
                self._ledger.add_validation(event)
                self._board.validated(event)
            case SuiteScored():
                self._ledger.evaluations.add_scores(event)
                self._board.suite_scored(event)
            case PreviewMade():
                self._ledger.evaluations.add_preview(event)
            case Evaluated():
                self._board.evaluated(event)
            case GateJudged():
                self._on_judged(event.verdict)
            case JobEnded():
                self._on_job_ended(event)
            case JobPreempted():
                self._on_preempted(event)
            case CheckpointPublished():
                self._on_checkpoint(event)
            case Held():
                self._worker.is_holding = True
            case Continued():
                self._worker.is_holding = False
            case Blocked():
                self._worker.blocked = event.reason
                self._journal.record(WorkerBlocked(reason=event.reason))
            case Unblocked():
                self._worker.blocked = None
                self._journal.record(TrainingUnblocked())
            case Notice():
                self._journal.record(WorkerNotice(key=event.key, text=event.message, job_id=event.job_id))
            case Faulted() | Leaving():
                pass  # its last word; how it ended is asked of its process

    def _on_ready(self, ready: WorkerReady) -> None:
        steps_before = self._ledger.newest_step() + self._worker.lost_steps
        cursors = {cursor.job_id for cursor in ready.cursors}
        self._branches.follow(ready.branches, cursors=cursors, finished=ready.finished)
        self._completions.reopen_untrained(ready)
        self._ledger.rewind(ready.global_step)
        self._ledger.add_steps(ready.recent_steps)  # a daemon that died may not have noted them
        self._completions.saved(ready.finished)
        self._replays.note_cursors(ready.cursors)
        self._replays.release()
        self._worker.cursors = cursors
        self._worker.lost_steps = 0
        self._worker.progress.global_step = ready.global_step
        self._board.worker_ready(ready)
        if not isinstance(self._worker.state, ShuttingDown):
            self._worker.state = Ready()
        notices = list(ready.notices)
        if ready.checkpoint is None and steps_before:
            trained = f"trained before: {num_of(steps_before, 'step')}"
            notices.insert(0, f"there is no checkpoint, so the model starts anew; {trained}")
        for notice in notices:
            self._journal.record(WorkerNotice(key="checkpoint", text=notice))
        self._journal.record(ModelLoaded(model_name=ready.model_name, global_step=ready.global_step))

    def note_recovery(self) -> None:
        """Record that what blocked training is over, if it was. A model that loads does not show that yet."""
        if self._worker.has_been_blocked:
            self._worker.has_been_blocked = False
            self._journal.record(TrainingUnblocked())

    def _on_data_checked(self, event: DataChecked) -> None:
        write_report(self._layout, event.job_id, event.report)
        if text := summary(event.report):
            self._journal.record(RowsInspected(job_id=event.job_id, summary=text))

    def _on_job_started(self, event: JobStarted) -> None:
        job = self._worker.jobs[event.job_id]
        self.note_recovery()
        if event.micro_batch_tokens:
            self._ledger.limit_micro_batch(job.id, event.micro_batch_tokens)
        self._worker.started_at_step = event.global_step
        self._worker.progress.file_step = event.first_step
        self._worker.progress.loss = None  # that of the file before
        self._board.job_started(job, event)
        self._journal.record(
            TrainingStarted(
                job_id=job.id, file=job.name, first_step=event.first_step, total_steps=event.total_steps
            )
        )

    def _on_steps(self, steps: tuple[StepReport, ...]) -> None:
        self._ledger.add_steps(steps)
        self._worker.progress.note(steps[-1])
        self._board.steps(steps)
        self._board.costs.add("training", sum(step.seconds for step in steps))
        self._worker.failures = 0
        if self._worker.has_crashed:
            self._worker.has_crashed = False
            self._journal.record(WorkerRecovered())
        self._watch_loss(steps)
        for step in steps:
            if step.not_applied:
                self._journal.record(
                    StepNotApplied(
                        job_id=step.job_id,
                        file=self._worker.jobs[step.job_id].name,
                        file_step=step.file_step,
                        reason=step.not_applied,
                    )
                )

    def _watch_loss(self, steps: tuple[StepReport, ...]) -> None:
        """Record when the loss ceases to be a finite number, and when it is one again."""
        was_finite = self._worker.is_loss_finite
        broken = [step for step in steps if step.loss is None and step.supervised_tokens]
        self._worker.is_loss_finite = not broken
        if self._worker.is_loss_finite != was_finite:
            kind, step = (LossNotFinite, broken[0]) if broken else (LossFinite, steps[0])
            job = self._worker.jobs[step.job_id]
            self._journal.record(kind(job_id=job.id, file=job.name, global_step=step.global_step))

    def _on_judged(self, verdict: GateVerdict) -> None:
        self._ledger.gate_verdicts.add(verdict, branch=self._ledger.branches.newest())
        self._ledger.commit()  # where the model goes back to is planned by what stands in the file
        is_refused = verdict.outcome == "refused"
        self._worker.refused = verdict if is_refused else None
        kind = GateRefused if is_refused else GatePassed
        self._journal.record(
            kind(
                job_id=verdict.files[0].job_id if len(verdict.files) == 1 else None,
                outcome=verdict.outcome,
                files=tuple(file.name for file in verdict.files),
                from_step=verdict.from_step,
                global_step=verdict.global_step,
                reason=verdict.reason,
            )
        )

    def _on_job_ended(self, event: JobEnded) -> None:
        job = self._worker.jobs[event.record.job_id]
        self.note_recovery()
        self._completions.ended(job, event)
        self._journal.record(ended_event(job, event, loss=self._worker.progress.loss))
        self._take_back(job)

    def _on_preempted(self, event: JobPreempted) -> None:
        job = self._worker.jobs[event.job_id]
        self._queue.preempt(job.id)
        self._ledger.end_attempt(job.id, "preempted", None, is_charged=False)
        self._journal.record(TrainingPreempted(job_id=job.id, file=job.name, steps=event.steps))
        self._worker.cursors.add(job.id)
        self._take_back(job)

    def _take_back(self, job: Job) -> None:
        del self._worker.jobs[job.id]
        self._board.job_ended()
        self._worker.progress.file_step = None
        self._worker.state = ShuttingDown() if isinstance(self._worker.state, ShuttingDown) else Ready()

    def _on_checkpoint(self, event: CheckpointPublished) -> None:
        saved = event.checkpoint
        self._completions.saved(event.finished)
        self._replays.release()
        busy = self._worker.state
        if isinstance(busy, Busy) and saved.step > self._worker.started_at_step:
            self._ledger.forgive(busy.job_id)  # it has got on since, so it is not what crashes the workers
        self._board.checkpoint(saved)
        self._board.costs.add("saving", event.stall_seconds)
        self._journal.record(
            CheckpointSaved(path=saved.path, global_step=saved.step, seconds=round(event.seconds, 3))
        )
