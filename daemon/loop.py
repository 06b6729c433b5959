"""The daemon's loop. One turn: reap, take in, obey, decide and act, publish."""

import logging
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence

from daemon.control.control_files import FILES, Request, read_requests, remove_request
from daemon.control.pause_file import PauseFile
from daemon.decide import (
    Decision,
    DismissWorker,
    GiveJob,
    Leave,
    Preempt,
    PrepareNext,
    SayQueueIsEmpty,
    Situation,
    StartWorker,
    Stopping,
    Wait,
    next_decision,
)
from daemon.intake.intake import Intake
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for, restore_reasons
from daemon.ledger.ledger import Ledger
from daemon.obstacles import Obstacles
from daemon.service_manager import ServiceManager
from daemon.settings.live_settings import LiveSettings
from daemon.status.board import StatusBoard
from daemon.status.machine import GpuReader, read_memory
from daemon.supervision.supervisor import Supervisor
from daemon.supervision.worker_state import Absent, Busy, Leaving, Loading, Ready
from daemon.wake import Wake
from trainer.protocol.failpoints import failpoint
from trainer.protocol.job import FaultKind, Job, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.status import State
from trainer.protocol.text import printable

logger = logging.getLogger(__name__)

FAILED_TURN_WAIT_S = 1.0  # so that a fault that stays does not use up a processor
LAST_BREATH_S = 0.02


class Daemon:
    """One running daemon.

    Args:
        drain: leave when everything is trained.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        layout: Layout,
        settings: LiveSettings,
        queue: JobQueue,
        ledger: Ledger,
        board: StatusBoard,
        intake: Intake,
        supervisor: Supervisor,
        wake: Wake,
        environment: Obstacles,
        service: ServiceManager,
        *,
        drain: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._queue = queue
        self._ledger = ledger
        self._board = board
        self._intake = intake
        self._supervisor = supervisor
        self._wake = wake
        self._environment = environment
        self._service = service
        self._drain = drain
        self._clock = clock
        self._pause = PauseFile(layout.pause_file)
        self._gpus = GpuReader()
        self._obstacle: str | None = None  # what keeps files from being begun
        self._stopping: Stopping | None = None
        self._unanswered: list[tuple[Request, str | None]] = []  # with the job it is about
        self._signals = 0
        self._failed_until = 0.0
        self._is_over = False
        self._unremovable: deque[Request] = deque(maxlen=len(FILES))  # obeyed, and still there
        self._told_faults: set[str] = set()
        self._decided_wait = Wait()

    def start(self, *, found: Sequence[Request]) -> None:
        """Take over what an earlier daemon left.

        Args:
            found: requests that lay there before this daemon; they are reported, not obeyed, but for pause,
                resume and the emergency stop.
        """
        for request in read_requests(self._layout):
            if request in found and not request.is_lasting:
                self._answer(request, "too old: it was given before the daemon started")
        strangers = self._queue.recover()
        restore_reasons(self._layout, self._ledger, at=self._board.now_text())
        self._intake.take_in(self._clock(), strangers=strangers)
        self._ledger.add_event("daemon_started", f"daemon {os.getpid()} started")
        self._ledger.commit()

    def run(self) -> int:
        """Turn until it is time to leave; return the exit code."""
        while not self._turn():
            self._sleep()
        self._attempt(self._say_goodbye)
        is_failed = self._supervisor.failed_files or self._intake.refused_files or self._blocked
        return 1 if self._drain and is_failed else 0

    def _say_goodbye(self) -> None:
        self._service.stopping()
        self._board.set_state(State.STOPPED, self._blocked if self._drain else None)
        self._ledger.add_event("daemon_stopped", f"daemon {os.getpid()} stopped")
        self._ledger.commit()
        self._refresh()
        self._board.publish()
        logger.info("stopped; the next start goes on where this one left off")

    def stop_soon(self) -> None:
        """Save at the next step and leave; asked again, leave without saving. Safe in a signal handler."""
        self._signals += 1
        self._wake.set()

    def _turn(self) -> bool:
        """Do everything once; return whether the daemon is to leave.

        No part depends on another's success: a full disk, say, must not keep a stop from being obeyed.
        """
        now = self._clock()
        self._attempt(self._follow_settings)
        self._attempt(self._supervisor.reap)
        self._attempt(lambda: self._intake.take_in(now))
        self._attempt(self._obey)
        self._attempt(lambda: self._decide(now))
        self._attempt(self._publish)
        if now > self._failed_until:
            self._told_faults.clear()
        self._service.alive()
        return self._is_over

    def _attempt(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:
            self._failed_until = self._clock() + FAILED_TURN_WAIT_S
            if (fault := repr(error)) not in self._told_faults:  # one that stays is told once
                self._told_faults.add(fault)
                logger.exception("a part of this turn failed; it is tried again")
                self._board.error(type(error).__name__, str(error), None)

    # ---- settings

    def _follow_settings(self) -> None:
        if self._settings.reload_if_changed():
            if self._settings.problem:
                logger.error(self._settings.problem)
                self._board.alert("config", self._settings.problem)
            else:
                logger.info("config.json has changed; it takes effect at the next job")
                self._board.clear_alert("config")
                self._supervisor.use(self._settings.current.checkpoints)
            self._supervisor.retry_now()

    # ---- requests

    def _obey(self) -> None:
        if self._signals and self._stopping is not Stopping.NOW:
            self._stop(Stopping.NOW)
        elif self._signals > 1:
            self._supervisor.kill()
        for request in read_requests(self._layout):
            if request not in self._unremovable:
                failpoint("control.read")
                self._take(request)
                failpoint("control.taken")
        self._answer_when_done()

    def _take(self, request: Request) -> None:
        match request.name:
            case "pause":
                self._pause.set(request.reason, self._board.now_text())
                self._supervisor.pause()
                self._accept(request)
            case "resume":
                was_paused, was_blocked = self._pause.clear(), self._blocked
                self._supervisor.resume()
                result = "training goes on" if was_paused else "was not paused"
                self._answer(request, "trying again what was blocked" if was_blocked else result)
            case "skip":
                self._skip(request)
            case "stop":
                self._stop(self._stopping or Stopping.AFTER_FILE)
                self._answer(request, "stopping after the current file")
            case "stop_now":
                self._stop(Stopping.NOW)
                self._answer(request, "stopping at the next step")

    def _stop(self, how: Stopping) -> None:
        self._stopping = how
        self._ledger.add_event("stopping", f"stopping {how}")

    def _skip(self, request: Request) -> None:
        job = self._current_job()
        if isinstance(self._supervisor.state, Leaving):
            self._answer(request, "too late: the worker is leaving, and the file goes on at the next start")
        elif isinstance(self._supervisor.state, Busy):
            self._supervisor.skip(self._supervisor.state.job_id)
            self._accept(request, self._supervisor.state.job_id)
        elif job:
            self._skip_unbegun(job)
            self._answer(request, f"skipped {job.name}")
        elif check := self._intake.current_check:
            self._intake.skip_check()
            self._answer(request, f"skipped {check.name}")
        else:
            self._answer(request, "nothing to skip")

    def _current_job(self) -> Job | None:
        """The job a person means by "the current file": begun, or the one the worker is being loaded for."""
        begun = self._queue.begun()
        if begun:
            return begun[0]
        return self._queue.next() if isinstance(self._supervisor.state, Loading) else None

    def _skip_unbegun(self, job: Job) -> None:
        reason = reason_for(job, FaultKind.REQUEST, "skipped on request", at=self._board.now_text())
        self._queue.finish([Ending(job=job, outcome=Outcome.SKIPPED, reason=reason)])
        self._supervisor.forget(job.id)

    def _accept(self, request: Request, job_id: str | None = None) -> None:
        """Take the file away now and answer when the worker has obeyed."""
        failpoint("control.accepted")
        self._remove(request)
        self._unanswered.append((request, job_id))

    def _answer_when_done(self) -> None:
        for request, job_id in list(self._unanswered):
            if request.name == "pause" and not (self._supervisor.is_training and self._pause.is_set):
                self._answer(request, "paused" if self._pause.is_set else "was resumed before it could pause")
            elif job_id and self._is_skipped(job_id):
                state = self._ledger.state_of(job_id)
                self._answer(
                    request, "skipped" if state == "skipped" else f"too late: it was {state} already"
                )
            else:
                continue
            self._unanswered.remove((request, job_id))

    def _is_skipped(self, job_id: str) -> bool:
        """Whether a job's file has left.

        One that the worker gave back instead of skipping it (it died, or set it aside) is put away here.
        """
        job = self._queue.find(job_id)
        if job and (isinstance(self._supervisor.state, Absent) or self._queue.is_waiting(job.id)):
            self._skip_unbegun(job)
            return True
        return job is None

    def _answer(self, request: Request, result: str) -> None:
        logger.info("%s: %s", request.name, result)
        self._ledger.add_event("command", f"{request.name}: {result}")
        self._board.command(request.name, request.id, result)
        failpoint("control.answered")
        self._remove(request)

    def _remove(self, request: Request) -> None:
        try:
            remove_request(request)
        except OSError as error:
            logger.error("%s cannot be removed: %s; it is not obeyed again", request.path, error)
            self._unremovable.append(request)

    # ---- deciding and acting

    def _decide(self, now: float) -> None:
        """Act until there is nothing to do but wait, or it is time to leave."""
        if self._drain and self._blocked:
            self._stopping = self._stopping or Stopping.NOW
        while not isinstance(decision := next_decision(self._situation(), now=now), Wait):
            if isinstance(decision, Leave):
                self._is_over = True
                return
            self._act(decision)
        self._decided_wait = decision

    def _situation(self) -> Situation:
        self._supervisor.check_settings(self._settings.current)
        # What was learned from a file that was begun is not known before it has been checked again
        next_job = None if self._intake.has_leftovers else self._queue.next()
        upcoming = self._queue.upcoming()
        self._look_around(next_job)
        return Situation(
            worker=self._supervisor.state,
            paused=self._pause.is_set,
            stopping=self._stopping,
            next_job=next_job.id if next_job else None,
            upcoming_job=upcoming[0].id if upcoming else None,
            upcoming_priority=upcoming[0].priority if upcoming else None,
            preempt=self._settings.current.daemon.preempt,
            drain=self._drain,
            is_obstructed=self._obstacle is not None,
            is_quiet=self._intake.is_quiet and not self._supervisor.has_uncommitted,
        )

    def _look_around(self, next_job: Job | None) -> None:
        """Note what keeps this job from being begun. Once it is, the worker looks after itself."""
        found = None
        if next_job and not self._pause.is_set and isinstance(self._supervisor.state, Absent | Ready):
            found = self._environment.obstacle(self._settings.current.daemon.min_free_bytes)
        before, self._obstacle = self._obstacle, found
        if found and not before:
            logger.error("blocked: %s", found)
            self._board.error("Blocked", found, None)
            self._ledger.add_event("blocked", found)

    @property
    def _blocked(self) -> str | None:
        """Why nothing can be trained at the moment."""
        return self._obstacle or self._supervisor.blocked

    def _act(self, decision: Decision) -> None:
        settings = self._settings.current
        match decision:
            case StartWorker():
                self._supervisor.start_worker(settings)
            case GiveJob():
                if job := self._queue.next():
                    self._supervisor.give(job, settings)
            case Preempt(job_id):
                self._supervisor.preempt(job_id)
            case PrepareNext(job_id):
                self._supervisor.prepare(job_id)
            case SayQueueIsEmpty():
                self._supervisor.say_queue_is_empty()
            case DismissWorker(reason):
                self._supervisor.dismiss(reason, settings.daemon.stop_grace_s)
            case Leave() | Wait():
                pass

    # ---- showing

    def _publish(self) -> None:
        state, reason = self._state()
        self._board.set_state(state, reason)
        self._service.status(f"{state}: {reason}" if reason else state)
        self._ledger.thin(self._settings.current.daemon.step_rows_kept)
        self._ledger.commit()
        self._board.publish_if_due(self._refresh)

    def _state(self) -> tuple[State, str | None]:
        worker = self._supervisor.state
        if self._stopping:
            return State.STOPPING, str(self._stopping)
        cannot_save = (
            self._supervisor.worker and self._supervisor.blocked
        )  # which whoever pauses wants to know
        if self._pause.is_set and not self._supervisor.is_training and not cannot_save:
            return State.PAUSED, self._pause.reason
        if self._blocked:
            return State.BLOCKED, self._blocked
        if isinstance(worker, Loading):
            return State.LOADING, self._board.status.status_reason
        if isinstance(worker, Busy):
            return State.TRAINING, None
        if isinstance(worker, Absent) and worker.not_before > self._clock() and len(self._queue):
            return State.LOADING, "the worker is started again after a pause, because it died"
        if self._intake.current_check:
            return State.CHECKING, None
        return State.IDLE, None

    def _refresh(self) -> None:
        worker = self._supervisor.worker
        check = self._intake.current_check
        if not isinstance(self._supervisor.state, Busy) and not self._board.status.current_job:
            self._board.set(current_file=printable(check.name) if check else None)
        self._board.set(
            queue=self._queue.counts(),
            memory=read_memory(worker.memory_bytes() if worker else None),
            gpus=self._gpus.read(),
        )

    # ---- waiting

    def _sleep(self) -> None:
        """Wait until something happens or is due."""
        now = self._clock()
        due = [self._intake.due_at(), self._board.due_at(), self._service.due_at()]
        if self._decided_wait.until is not None:
            due.append(self._decided_wait.until)
        if worker := self._supervisor.worker:
            # A process ends a moment after its connection does; and deadlines must be kept
            due.append(now + (1.0 if worker.is_connected else LAST_BREATH_S))
        timeout_s = max(0.0, self._failed_until - now, min(due) - now)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            if worker and worker.is_connected:
                selector.register(worker, selectors.EVENT_READ)
            selector.select(timeout_s)
        self._wake.clear()
