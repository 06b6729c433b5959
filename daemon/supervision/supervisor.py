"""The one worker of a working directory: start it, give it jobs and orders, and hear what it reports.

What follows from a report stands in `worker_reports`, what follows from its exit in `worker_exit`.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from daemon.jobs.admission import is_admitted
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.replay import Replays
from daemon.journal.events import TrainingBlocked, WorkerStarted
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.settings.live_settings import needs_new_worker
from daemon.status.board import StatusBoard
from daemon.supervision.completion import Completions
from daemon.supervision.hang_watch import Watch
from daemon.supervision.launcher import Launcher
from daemon.supervision.retry import Retries
from daemon.supervision.worker_exit import WorkerExit
from daemon.supervision.worker_process import WorkerProcess
from daemon.supervision.worker_record import WorkerRecord
from daemon.supervision.worker_reports import WorkerReports
from daemon.supervision.worker_state import Absent, Busy, Loading, Ready, ShuttingDown, WorkerState
from trainer.config.schema import CheckpointSettings, Settings
from trainer.protocol.failpoints import failpoint
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import Job
from trainer.protocol.layout import Layout
from trainer.protocol.messages import (
    ChangeCheckpoints,
    Command,
    Event,
    ForgetJobs,
    LoadModel,
    Pause,
    PreemptJob,
    PrepareJob,
    QueueEmpty,
    Resume,
    Section,
    ShutDown,
    SkipJob,
    StartJob,
)
from trainer.protocol.status import State
from trainer.protocol.text import printable

FROZEN = ("training", "data", "profile")  # sections that a job keeps as they were when it started


class Supervisor:
    """Starts, orders and watches the worker.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        layout: Layout,
        queue: JobQueue,
        ledger: Ledger,
        journal: Journal,
        board: StatusBoard,
        launcher: Launcher,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._board = board
        self._launcher = launcher
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._heard: deque[Event] = deque()
        self._longest_waits: dict[Section, float] = {}  # seconds; of all workers, so that each knows more
        self._worker = WorkerRecord(has_crashed=ledger.has_unrecovered_crash())
        self._completions = Completions(queue, ledger, journal)
        self._retries = Retries(queue, ledger, journal)
        self._replays = Replays(layout, queue, ledger)
        self._reports = WorkerReports(
            layout, queue, ledger, journal, board, self._completions, self._replays, self._worker
        )
        self._exit = WorkerExit(
            ledger,
            journal,
            board,
            self._completions,
            self._retries,
            self._worker,
            models=layout.models,
            clock=clock,
        )

    # ---- facts

    @property
    def process(self) -> WorkerProcess | None:
        """The worker's process; None when there is no worker."""
        return self._process

    @property
    def state(self) -> WorkerState:
        return self._worker.state

    @property
    def blocked(self) -> str | None:
        """Why nothing can be trained at the moment."""
        return self._worker.blocked

    @property
    def loading_detail(self) -> str | None:
        """How far the worker is with loading."""
        return self._worker.loading_detail

    @property
    def failed_files(self) -> int:
        """Files that have gone to `failed/` by way of the worker."""
        return self._completions.failed_files + self._retries.failed_files

    @property
    def refused(self) -> GateVerdict | None:
        """Why the model must go back, if the gate has found it worse; the worker trains no further."""
        return self._worker.refused

    @property
    def is_training(self) -> bool:
        """A job is in the worker's hands and not held."""
        return self._worker.is_training

    @property
    def global_step(self) -> int | None:
        """Where the model is, as its worker says; None without one, or while it loads."""
        is_there = isinstance(self.state, Ready | Busy | ShuttingDown)
        return self._worker.progress.global_step if is_there else None

    @property
    def has_job(self) -> bool:
        """A job was given to the worker and has not ended."""
        return bool(self._worker.jobs)

    @property
    def has_unsaved(self) -> bool:
        """A finished file waits for the checkpoint that contains it."""
        return self._completions.has_unsaved

    # ---- orders

    def start_worker(self, settings: Settings) -> None:
        """Start a worker; it loads the model at once."""
        own = settings.daemon
        self._worker.blocked = None
        self._worker.loading_detail = None
        self._worker.settings = settings
        watch = Watch(
            self._longest_waits,
            hang_after_s=own.hang_after_s,
            ceiling_s=own.hang_ceiling_s,
            now=self._clock(),
        )
        try:
            process = WorkerProcess(self._launcher, self._layout, watch, self._journal, clock=self._clock)
        except OSError as error:
            self._worker.state = Absent(self._clock() + own.blocked_retry_s)
            self._worker.blocked = f"the worker cannot be started: {error}"
            self._worker.has_been_blocked = True
            self._journal.record(TrainingBlocked(reason=self._worker.blocked))
            return
        self._process = process
        process.send(LoadModel(settings=settings.model_dump(mode="json")))
        self._worker.state = Loading()
        self._board.set_state(State.LOADING)  # without the reason of the state before
        self._board.set(worker_pid=process.pid, worker_section="loading")
        self._journal.record(WorkerStarted(pid=process.pid))

    def give(self, job: Job, settings: Settings) -> None:
        """Have a job trained. Its file moves to `processing/` first, and the attempt is noted."""
        started = self._queue.start(job)
        if started is None or self._process is None:
            return
        job, path = started
        wanted = settings.model_dump(mode="json")
        frozen = self._ledger.frozen_settings(job.id) or self._freeze(job, settings)
        replayed = self._ledger.replayed(job.id)
        self._replays.keep(replayed)
        self._ledger.start_attempt(job.id)
        failpoint("supervisor.attempted")
        self._worker.jobs[job.id] = job
        self._worker.cursors.discard(job.id)
        self._worker.progress.file_step = None
        hints = self._ledger.retry_hints(job.id)
        self._process.send(
            StartJob(
                job=job,
                path=str(path),
                settings=wanted | {name: frozen[name] for name in FROZEN},
                micro_batch_tokens=hints.micro_batch_tokens,
                left_out=hints.left_out,
                replayed=replayed,
                replay_folder=str(self._replays.folder),
                admitted=is_admitted(self._layout, job.sha256),
            )
        )
        failpoint("supervisor.given")
        self._worker.state = Busy(job.id, job.priority)
        self._board.set(current_file=printable(job.name), current_job=job.id, priority=job.priority.value)

    def _freeze(self, job: Job, settings: Settings) -> dict[str, Any]:
        """Note what a job starts with, for all its attempts."""
        wanted = settings.model_dump(mode="json")
        frozen = {name: wanted[name] for name in FROZEN}
        if job.id not in self._worker.cursors:  # else it keeps its settings, and its micro-batch with them
            self._ledger.limit_micro_batch(job.id, None)
        replayed = self._replays.choose(job) if settings.training.replay_fraction else ()
        self._ledger.freeze_settings(job.id, frozen, replayed)
        return frozen

    def prepare(self, job_id: str) -> None:
        """Have the file that will probably be next made ready while the current one trains."""
        upcoming = self._queue.upcoming()
        if upcoming and isinstance(self.state, Busy):
            job, path = upcoming
            self._send(PrepareJob(job=job, path=str(path)))
            self._worker.state = replace(self.state, prepared_job=job_id)

    def preempt(self, job_id: str) -> None:
        """Have a job saved at the next step and wait again, because a more urgent one has come."""
        if isinstance(self.state, Busy):
            self._send(PreemptJob(job_id=job_id))
            self._worker.state = replace(self.state, is_being_preempted=True)

    def say_queue_is_empty(self) -> None:
        """Have finished files made durable at once."""
        if isinstance(self.state, Ready):
            self._reports.note_recovery()
            self._send(QueueEmpty())
            self._worker.state = replace(self.state, knows_queue_is_empty=True)

    def pause(self) -> None:
        """Hold at the next step."""
        self._send(Pause())

    def use(self, checkpoints: CheckpointSettings) -> None:
        """Have the worker save by these settings from now on."""
        self._send(ChangeCheckpoints(settings=checkpoints.model_dump(mode="json")))

    def resume(self) -> None:
        """Continue, and try at once what was blocked."""
        self.retry_now()
        self._send(Resume())

    def skip(self, job_id: str) -> None:
        """End a job at the next step."""
        self._send(SkipJob(job_id=job_id))

    def forget(self, job_id: str) -> None:
        """Drop the cursor of a job that will not come back."""
        self._worker.cursors.discard(job_id)
        self._send(ForgetJobs(job_ids=(job_id,)))

    def dismiss(self, reason: str, grace_s: float) -> None:
        """Have the worker save at the next step and leave; after `grace_s` seconds it is killed."""
        if self._process:
            self._process.send(ShutDown(reason=reason))
            self._process.dismiss_by(self._clock() + grace_s)
            job_id = self.state.job_id if isinstance(self.state, Busy) else None
            self._worker.state = ShuttingDown(job_id, was_loading=isinstance(self.state, Loading))

    def kill(self) -> None:
        """End the worker now. What it had not saved is trained again at the next start."""
        if self._process:
            self._process.kill()

    def retry_now(self) -> None:
        """Do not wait any longer before the worker is started again."""
        if isinstance(self.state, Absent):
            self._worker.state = Absent()

    def check_settings(self, wanted: Settings) -> None:
        """Note if only a new worker can honour the settings."""
        if isinstance(self.state, Ready) and needs_new_worker(self._worker.settings, wanted):
            self._worker.state = replace(self.state, must_restart=True)

    def _send(self, command: Command) -> None:
        if self._process:
            self._process.send(command)

    # ---- what the worker reports, and its exit

    def reap(self) -> None:
        """Take in everything the worker has reported, and its exit."""
        if self._process is None:
            return
        verdict = self._process.ended()  # asked first: what it said before its end is then all there
        self._heard.extend(self._process.events())
        while self._heard:
            event = self._heard.popleft()
            try:
                self._reports.take(event)
            except (OSError, sqlite3.Error):
                self._heard.appendleft(event)  # disk or ledger failed: it is taken again next turn
                raise
        for job_id in [job_id for job_id in self._worker.cursors if not self._queue.is_open(job_id)]:
            self.forget(job_id)  # its file was taken away by hand
        if verdict is not None:
            self._exit.carry_out(verdict)
            self._process = None
