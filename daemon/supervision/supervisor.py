"""Everything between daemon and worker: start it, give it jobs, hear what it says, judge how it ends.

A file leaves `processing/` only when the worker has said that a durable checkpoint contains it.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from daemon.jobs.admission import is_admitted
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.replay import Replays
from daemon.ledger.ledger import Ledger
from daemon.settings.live_settings import needs_new_worker
from daemon.status.board import StatusBoard
from daemon.status.data_reports import summary, write_report
from daemon.supervision.completion import Completions, how_it_ended
from daemon.supervision.hang_watch import Watch
from daemon.supervision.launcher import Launcher
from daemon.supervision.retry import Retries
from daemon.supervision.verdict import Verdict, backoff_s
from daemon.supervision.worker_process import WorkerProcess
from daemon.supervision.worker_state import Absent, Busy, Leaving, Loading, Ready, WorkerState
from trainer.config.schema import CheckpointSettings, Settings
from trainer.protocol.failpoints import failpoint
from trainer.protocol.job import FaultKind, Job, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.messages import (
    Blocked,
    ChangeCheckpoints,
    CheckpointPublished,
    Continued,
    DataChecked,
    Evaluated,
    Event,
    Faulted,
    ForgetJobs,
    Heartbeat,
    Held,
    JobEnded,
    JobPreempted,
    JobStarted,
    LoadModel,
    Notice,
    Pause,
    PreemptJob,
    PrepareJob,
    PreviewMade,
    QueueEmpty,
    Resume,
    Section,
    ShutDown,
    SkipJob,
    StartJob,
    StepReport,
    StepsTaken,
    SuiteScored,
    Unblocked,
    Validated,
    WorkerReady,
)
from trainer.protocol.messages import Leaving as LeavingEvent
from trainer.protocol.status import State
from trainer.protocol.text import printable

logger = logging.getLogger(__name__)

FROZEN = ("training", "data", "profile")  # sections that a job keeps as they were when it started


class Supervisor:
    """The one worker of one working directory.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        layout: Layout,
        queue: JobQueue,
        ledger: Ledger,
        board: StatusBoard,
        launcher: Launcher,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._board = board
        self._completions = Completions(queue, ledger, board)
        self._retries = Retries(queue, ledger, board)
        self._replays = Replays(layout, queue, ledger)
        self._launcher = launcher
        self._clock = clock
        self._worker: WorkerProcess | None = None
        self._heard: deque[Event] = deque()
        self._settings = Settings()
        self._jobs: dict[str, Job] = {}  # given to this worker, and not yet ended
        self._cursors: set[str] = set()  # jobs not in its hands that it knows to be trained in part
        self._longest_waits: dict[Section, float] = {}  # seconds; of all workers, so that each knows more
        self._failures = 0
        self._begun_at_step = 0  # of the model's life, when the present job was begun or gone on with
        self._burial: deque[Callable[[], object]] = deque()
        self.state: WorkerState = Absent()
        self.is_holding = False
        """The worker has stopped between two steps because of a pause."""
        self.blocked: str | None = None
        """Why nothing can be trained at the moment."""

    # ---- facts

    @property
    def worker(self) -> WorkerProcess | None:
        return self._worker

    @property
    def failed_files(self) -> int:
        """Files that have gone to `failed/` by way of the worker."""
        return self._completions.failed_files + self._retries.failed_files

    @property
    def is_training(self) -> bool:
        """A job is in the worker's hands and not held."""
        return isinstance(self.state, Busy) and not self.is_holding

    @property
    def has_uncommitted(self) -> bool:
        """A finished file waits for the checkpoint that contains it."""
        return self._completions.has_unsaved

    # ---- orders

    def start_worker(self, settings: Settings) -> None:
        """Start a worker; it loads the model at once."""
        self.blocked = None
        self._settings = settings
        try:
            self._worker = WorkerProcess(self._launcher, self._layout, self._new_watch(), clock=self._clock)
        except OSError as error:
            self._block(f"the worker cannot be started: {error}", settings.daemon.blocked_retry_s)
            return
        self._worker.send(LoadModel(settings=settings.model_dump(mode="json")))
        self.state = Loading()
        self._board.set_state(State.LOADING)  # without the reason of the state before
        self._board.set(worker_pid=self._worker.pid, worker_section="loading")
        self._ledger.add_event("worker_started", f"worker {self._worker.pid} started")

    def _new_watch(self) -> Watch:
        own = self._settings.daemon
        return Watch(
            self._longest_waits,
            hang_after_s=own.hang_after_s,
            ceiling_s=own.hang_ceiling_s,
            now=self._clock(),
        )

    def give(self, job: Job, settings: Settings) -> None:
        """Have a job trained. Its file moves to `processing/` first, and the attempt is noted."""
        started = self._queue.start(job)
        if started is None or self._worker is None:
            return
        job, path = started
        wanted = settings.model_dump(mode="json")
        frozen = self._ledger.frozen_settings(job.id) or self._freeze(job, settings)
        replayed = self._ledger.replayed(job.id)
        self._replays.keep(replayed)
        self._ledger.start_attempt(job.id)
        failpoint("supervisor.attempted")
        self._jobs[job.id] = job
        self._cursors.discard(job.id)
        lessons = self._ledger.lessons(job.id)
        self._worker.send(
            StartJob(
                job=job,
                path=str(path),
                settings=wanted | {name: frozen[name] for name in FROZEN},
                micro_batch_tokens=lessons.micro_batch_tokens,
                left_out=lessons.left_out,
                replayed=replayed,
                replay_folder=str(self._replays.folder),
                admitted=is_admitted(self._layout, job.sha256),
            )
        )
        failpoint("supervisor.given")
        self.state = Busy(job.id, job.priority)
        self._board.set(current_file=printable(job.name), current_job=job.id, priority=job.priority.value)

    def _freeze(self, job: Job, settings: Settings) -> dict[str, Any]:
        """Note what a job starts with, for all its attempts."""
        wanted = settings.model_dump(mode="json")
        frozen = {name: wanted[name] for name in FROZEN}
        if job.id not in self._cursors:  # else it keeps its settings, and what was learned with them
            self._ledger.limit_micro_batch(job.id, None)
        replayed = self._replays.choose(job) if settings.training.replay_fraction else ()
        self._ledger.freeze_settings(job.id, frozen, replayed)
        return frozen

    def prepare(self, job_id: str) -> None:
        """Have the file that will probably be next made ready while the current one trains."""
        upcoming = self._queue.upcoming()
        if upcoming and self._worker and isinstance(self.state, Busy):
            job, path = upcoming
            self._worker.send(PrepareJob(job=job, path=str(path)))
            self.state = replace(self.state, prepared_job=job_id)

    def preempt(self, job_id: str) -> None:
        """Have a job saved at the next step and wait again, because a more urgent one has come."""
        if self._worker and isinstance(self.state, Busy):
            self._worker.send(PreemptJob(job_id=job_id))
            self.state = replace(self.state, is_being_preempted=True)

    def say_queue_is_empty(self) -> None:
        """Have finished files made durable at once."""
        if self._worker and isinstance(self.state, Ready):
            self._worker.send(QueueEmpty())
            self.state = Ready(self.state.must_restart, knows_queue_is_empty=True)

    def pause(self) -> None:
        """Hold at the next step."""
        if self._worker:
            self._worker.send(Pause())

    def use(self, checkpoints: CheckpointSettings) -> None:
        """Have the worker save by these settings from now on."""
        if self._worker:
            self._worker.send(ChangeCheckpoints(settings=checkpoints.model_dump(mode="json")))

    def resume(self) -> None:
        """Go on, and try at once what was blocked."""
        self.retry_now()
        if self._worker:
            self._worker.send(Resume())

    def skip(self, job_id: str) -> None:
        """End a job at the next step."""
        if self._worker:
            self._worker.send(SkipJob(job_id=job_id))

    def forget(self, job_id: str) -> None:
        """Drop the cursor of a job that will not come back."""
        self._cursors.discard(job_id)
        if self._worker:
            self._worker.send(ForgetJobs(job_ids=(job_id,)))

    def dismiss(self, reason: str, grace_s: float) -> None:
        """Have the worker save at the next step and leave; after `grace_s` seconds it is killed."""
        if self._worker:
            self._worker.send(ShutDown(reason=reason))
            self._worker.dismiss_by(self._clock() + grace_s)
            self.state = Leaving(self.state.job_id if isinstance(self.state, Busy) else None)

    def kill(self) -> None:
        """End the worker now. What it had not saved is trained again at the next start."""
        if self._worker:
            self._worker.kill()

    def retry_now(self) -> None:
        """Do not wait any longer before the worker is started again."""
        if isinstance(self.state, Absent):
            self.state = Absent()

    def check_settings(self, wanted: Settings) -> None:
        """Note if only a new worker can honour the settings."""
        if isinstance(self.state, Ready) and needs_new_worker(self._settings, wanted):
            self.state = Ready(must_restart=True, knows_queue_is_empty=self.state.knows_queue_is_empty)

    # ---- what the worker says and how it ends

    def reap(self) -> None:
        """Take note of everything the worker has said, and of its end."""
        if self._worker is None:
            return
        verdict = self._worker.ended()  # asked first: what it said before its end is then all there
        self._heard.extend(self._worker.events())
        while self._heard:
            event = self._heard.popleft()
            try:
                self._hear(event)
            except (OSError, sqlite3.Error):
                self._heard.appendleft(event)  # disk or ledger are at fault: it is heard again next turn
                raise
        for job_id in [job_id for job_id in self._cursors if not self._queue.is_open(job_id)]:
            self.forget(job_id)  # its file was taken away by hand
        if verdict is not None:
            self._bury(verdict)

    def _hear(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self._on_ready(event)
            case Heartbeat():
                self._board.set(worker_section=event.section)
                if event.detail:
                    self._board.set_state(self._board.status.status, event.detail)
            case DataChecked():
                self._on_data_checked(event)
            case JobStarted():
                self._on_job_started(event)
            case StepsTaken():
                self._failures = 0
                self._board.clear_alert("worker")
                self._ledger.add_steps(event.steps)
                self._board.steps(event.steps)
                self._show_not_applied(event.steps)
                self._board.costs.add("training", sum(step.seconds for step in event.steps))
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
            case JobEnded():
                self._on_job_ended(event)
            case JobPreempted():
                self._on_preempted(event)
            case CheckpointPublished():
                self._on_checkpoint(event)
            case Held():
                self.is_holding = True
            case Continued():
                self.is_holding = False
            case Blocked():
                self._note_block(event.reason)
                self._board.alert("blocked", event.reason)
            case Unblocked():
                self._unblock()
            case Notice():
                logger.warning(event.message, extra={"job_id": event.job_id})
                self._ledger.add_event("notice", event.message, event.job_id)
                self._board.alert(event.key, event.message)
            case Faulted() | LeavingEvent():
                pass  # its last word; `ended` tells what it means

    def _on_ready(self, ready: WorkerReady) -> None:
        if not isinstance(self.state, Leaving):
            self.state = Ready()
        self._board.worker_ready(ready)
        if ready.checkpoint is None and (steps := self._ledger.newest_step()):
            message = (
                f"there is no checkpoint, so the model begins anew; {steps} steps had been trained before"
            )
            logger.warning(message)
            self._ledger.add_event("notice", message)
            self._board.alert("checkpoint", message)
        self._completions.reopen_unlearned(ready)
        self._ledger.rewind(ready.global_step)
        self._ledger.add_steps(ready.recent_steps)  # a daemon that died may not have noted them
        for notice in ready.notices:
            logger.warning(notice)
            self._ledger.add_event("notice", notice)
            self._board.alert("checkpoint", notice)
        self._completions.saved(ready.finished)
        self._replays.note_cursors(ready.cursors)
        self._replays.release()
        self._cursors = {cursor.job_id for cursor in ready.cursors}
        logger.info("worker is ready: %s at step %d", ready.model_name, ready.global_step)
        self._ledger.add_event("worker_ready", f"{ready.model_name} at step {ready.global_step}")

    def _on_data_checked(self, event: DataChecked) -> None:
        write_report(self._layout, event.report)
        if text := summary(event.report):
            logger.warning(text, extra={"job_id": event.job_id})
            self._ledger.add_event("data_report", text, event.job_id)
            self._board.alert(f"data {event.job_id}", text)

    def _on_job_started(self, event: JobStarted) -> None:
        job = self._jobs[event.job_id]
        at = f"goes on at step {event.first_step + 1} of" if event.first_step else "starts with"
        message = f"training {job.name}: {at} {event.total_steps} steps"
        logger.info(message, extra={"job_id": job.id})
        self._ledger.add_event("started", message, job.id)
        if event.micro_batch_tokens:
            self._ledger.limit_micro_batch(job.id, event.micro_batch_tokens)
        self._begun_at_step = event.global_step
        self._board.job_started(job, event)

    def _on_job_ended(self, event: JobEnded) -> None:
        record = event.record
        job = self._jobs[record.job_id]
        self._completions.ended(job, event)
        message = how_it_ended(job.name, event, loss=self._board.status.loss)
        level = logging.WARNING if record.outcome is Outcome.FAILED else logging.INFO
        logger.log(level, message, extra={"job_id": job.id})
        self._ledger.add_event("trained", message, job.id)
        self._board.clear_alert(f"rejected {job.id}")
        self._board.clear_alert(f"data {job.id}")
        self._take_back(job)

    def _on_preempted(self, event: JobPreempted) -> None:
        job = self._jobs[event.job_id]
        self._queue.preempt(job.id)
        self._ledger.end_attempt(job.id, "set_aside", None, is_charged=False)
        message = f"set aside {job.name} after {event.steps} steps: a more urgent file comes first"
        logger.info(message, extra={"job_id": job.id})
        self._ledger.add_event("set_aside", message, job.id)
        self._cursors.add(job.id)
        self._take_back(job)

    def _take_back(self, job: Job) -> None:
        del self._jobs[job.id]
        self._board.job_ended()
        self.state = Leaving() if isinstance(self.state, Leaving) else Ready()

    def _show_not_applied(self, steps: tuple[StepReport, ...]) -> None:
        for step in steps:
            if step.not_applied:
                job = self._jobs[step.job_id]
                message = f"{job.name}: step {step.file_step} was not applied: {step.not_applied}"
                logger.warning(message, extra={"job_id": job.id})
                self._ledger.add_event("not_applied", message, job.id)
                self._board.alert(f"not_applied {job.id}", message)

    def _on_checkpoint(self, event: CheckpointPublished) -> None:
        self._board.checkpoint(event.checkpoint)
        self._board.costs.add("saving", event.stall_seconds)
        message = f"saved {event.checkpoint.path} in {event.seconds:.2f} s"
        logger.info(message)
        self._ledger.add_event("checkpoint", message)
        self._completions.saved(event.finished)
        self._replays.release()
        if isinstance(self.state, Busy) and event.checkpoint.step > self._begun_at_step:
            self._ledger.forgive(self.state.job_id)  # it has got on since, so it is not what ends the workers

    def _bury(self, verdict: Verdict) -> None:
        """Do what follows from a worker's end, part by part: what a full disk prevents is done next turn."""
        if not self._burial:
            self._burial.extend(self._parts_of_burial(verdict))
        while self._burial:
            self._burial[0]()
            self._burial.popleft()
        self._worker = None

    def _parts_of_burial(self, verdict: Verdict) -> list[Callable[[], object]]:
        before = self.state
        busy_with = before.job_id if isinstance(before, Busy | Leaving) else None
        job = self._jobs.get(busy_with) if busy_with else None
        settle = partial(
            self._retries.settle,
            may_blame_file=isinstance(before, Busy),
            max_attempts=self._settings.daemon.max_attempts,
        )
        return [
            lambda: self._retries.record(verdict, job),
            lambda: self._ledger.add_event("worker_ended", verdict.message, job.id if job else None),
            self._forget_worker,
            lambda: settle(job, verdict) if job else None,
            lambda: self._plan_next_start(verdict, job),
        ]

    def _forget_worker(self) -> None:
        self._jobs.clear()
        self._cursors.clear()
        self._completions.drop_unsaved()
        self.is_holding = False
        self._unblock()
        self._board.job_ended()
        self._board.set(worker_pid=None, worker_section=None)

    def _plan_next_start(self, verdict: Verdict, job: Job | None) -> None:
        self.state = Absent()
        match verdict.kind:
            case None:
                logger.info("worker left: %s", verdict.message)
                if verdict.was_preempted:  # by somebody who may be about to end the daemon, too
                    own = self._settings.daemon
                    self.state = Absent(self._clock() + backoff_s(1, maximum_s=own.backoff_max_s))
            case FaultKind.ENVIRONMENT | FaultKind.BAD_CONFIG:
                self._block(verdict.reason, self._settings.daemon.blocked_retry_s)
            case FaultKind.NAN if job:  # at once: the next try is another one
                logger.error("%s; starting again", verdict.message)
                self._board.error("NotFinite", verdict.message, job.name)
            case _:
                self._failures += 1
                wait_s = backoff_s(self._failures, maximum_s=self._settings.daemon.backoff_max_s)
                self.state = Absent(self._clock() + wait_s)
                logger.error("%s; starting again in %.0f s", verdict.message, wait_s)
                self._board.error("WorkerCrash", verdict.message, job.name if job else None)
                self._board.alert("worker", verdict.message)

    def _block(self, reason: str, retry_s: float) -> None:
        self.state = Absent(self._clock() + retry_s)
        self._note_block(reason)

    def _note_block(self, reason: str) -> None:
        self.blocked = reason
        logger.error("blocked: %s", reason)
        self._board.error("Blocked", reason, None)
        self._ledger.add_event("blocked", reason)

    def _unblock(self) -> None:
        self.blocked = None
        self._board.clear_alert("blocked")
