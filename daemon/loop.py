"""The daemon's loop. One turn: reap, take in, obey, decide and act, publish."""

import os
import selectors
import time
from collections.abc import Callable, Sequence

from daemon.chores import Chores
from daemon.commands import Commands
from daemon.control.control_files import Request
from daemon.decide import (
    ActOnModel,
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
    stopping_words,
)
from daemon.intake.intake import Intake
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.reasons import restore_reasons
from daemon.journal.events import (
    DaemonStarted,
    DaemonStopped,
    QueueEmptied,
    SettingsChanged,
    SettingsRefused,
    TrainingBlocked,
    TrainingUnblocked,
    TurnFailed,
)
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.obstacles import Obstacles
from daemon.service_manager import ServiceManager
from daemon.settings.live_settings import LiveSettings
from daemon.status.board import StatusBoard
from daemon.status.last_known import show_model
from daemon.status.machine import GpuReader, read_memory
from daemon.supervision.lost_steps import forget_lost_steps
from daemon.supervision.supervisor import Supervisor
from daemon.supervision.worker_state import Absent, Busy, Loading, Ready, ShuttingDown
from daemon.wake import Wake
from trainer.protocol.job import Job
from trainer.protocol.layout import Layout
from trainer.protocol.status import State
from trainer.protocol.text import printable

FAILED_TURN_WAIT_S = 1.0  # so that a fault that stays does not use up a processor
LAST_BREATH_S = 0.02
EMPTY_AFTER_S = 1.0  # of several files that come together, one may be done before the next is seen


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
        journal: Journal,
        board: StatusBoard,
        intake: Intake,
        supervisor: Supervisor,
        commands: Commands,
        wake: Wake,
        obstacles: Obstacles,
        chores: Chores,
        service: ServiceManager,
        *,
        drain: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._board = board
        self._intake = intake
        self._supervisor = supervisor
        self._commands = commands
        self._wake = wake
        self._obstacles = obstacles
        self._chores = chores
        self._service = service
        self._drain = drain
        self._clock = clock
        self._gpus = GpuReader()
        self._obstacle: str | None = None  # what keeps files from being started
        self._waits_for_space = False  # the same, while some is being freed
        self._failed_until = 0.0
        self._refused_files = 0  # by the gate
        self._is_over = False
        self._empty_at: float | None = None  # when the queue counts as empty; None if that was recorded
        self._reported_faults: set[str] = set()
        self._decided_wait = Wait()

    def start(self, *, found: Sequence[Request]) -> None:
        """Take over what an earlier daemon left.

        Args:
            found: requests that lay there before this daemon; they are reported, not obeyed, but for pause,
                resume and the emergency stop.
        """
        self._commands.refuse_old(found)
        unchecked = self._queue.recover()
        self._commands.acts.catch_up()
        show_model(self._board, self._layout, self._ledger.measured_at)
        forget_lost_steps(self._layout.models, self._ledger, self._board)
        restore_reasons(self._layout, self._ledger, at=self._journal.now_text())
        self._intake.take_in(self._clock(), unchecked=unchecked)
        self._journal.record(DaemonStarted(pid=os.getpid()))
        self._ledger.commit()

    def run(self) -> int:
        """Turn until it is time to leave; return the exit code."""
        while not self._turn():
            self._sleep()
        self._attempt(self._say_goodbye)
        refused_files = self._intake.refused_files or self._refused_files
        is_failed = self._supervisor.failed_files or refused_files or self._blocked
        return 1 if self._drain and is_failed else 0

    def _say_goodbye(self) -> None:
        self._service.stopping()
        self._commands.say_goodbye()
        self._board.set_state(State.STOPPED, self._blocked if self._drain else None)
        self._journal.record(DaemonStopped(pid=os.getpid()))
        self._ledger.commit()
        self._refresh()
        self._board.publish()

    def stop_soon(self) -> None:
        """Save at the next step and leave; asked again, leave without saving. Safe in a signal handler."""
        self._commands.signal_stop()
        self._wake.set()

    def _turn(self) -> bool:
        """Do everything once; return whether the daemon is to leave.

        No part depends on another's success: a full disk, say, must not keep a stop from being obeyed.
        """
        now = self._clock()
        self._attempt(self._follow_settings)
        self._attempt(self._supervisor.reap)
        self._attempt(self._heed_gate)
        self._attempt(lambda: self._intake.take_in(now))
        self._attempt(lambda: self._commands.carry_out(is_blocked=bool(self._blocked)))
        self._attempt(lambda: self._chores.disk.look_after(self._settings.current))
        self._attempt(lambda: self._decide(now))
        self._attempt(self._note_empty_queue)
        self._attempt(self._publish)
        for chore in self._chores.of_turn(self._settings.current):
            self._attempt(chore)
        if now > self._failed_until:
            self._reported_faults.clear()
        self._service.alive()
        return self._is_over

    def _attempt(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:
            self._failed_until = self._clock() + FAILED_TURN_WAIT_S
            if (fault := repr(error)) not in self._reported_faults:  # one that stays is reported once
                self._reported_faults.add(fault)
                self._journal.record(TurnFailed(exception=type(error).__name__, problem=str(error)))

    # ---- settings

    def _follow_settings(self) -> None:
        if self._settings.reload_if_changed():
            if self._settings.problem:
                self._journal.record(SettingsRefused(problem=self._settings.problem))
            else:
                changed = SettingsChanged(
                    is_there=self._settings.is_there, after_restart=self._settings.after_restart
                )
                self._journal.record(changed)
                self._supervisor.use(self._settings.current.checkpoints)
            self._supervisor.retry_now()

    # ---- deciding and acting

    def _heed_gate(self) -> None:
        """Let the model go back if the gate has found it worse, unless it goes back anyway."""
        verdict, worker = self._supervisor.refused, self._supervisor.state
        if verdict is None or self._commands.is_going_back or isinstance(worker, ShuttingDown):
            return
        if self._commands.obey_gate(verdict):
            self._refused_files += len(verdict.files) == 1
        else:
            why = "the gate has refused a file"  # the next worker says what is wrong with the checkpoint
            self._supervisor.dismiss(why, self._settings.current.daemon.stop_grace_s)

    def _decide(self, now: float) -> None:
        """Act until there is nothing to do but wait, or it is time to leave."""
        if self._drain and self._blocked:
            self._commands.stopping = self._commands.stopping or Stopping.NOW
        while not isinstance(decision := next_decision(self._situation(), now=now), Wait):
            if isinstance(decision, Leave):
                self._is_over = True
                return
            if isinstance(decision, ActOnModel):
                if not self._commands.act_on_model():
                    decision = Wait()  # its result wakes us
                    break
                show_model(self._board, self._layout, self._ledger.measured_at)
            self._act(decision)
        self._decided_wait = decision

    def _situation(self) -> Situation:
        self._supervisor.check_settings(self._settings.current)
        # What was trained of a file that was started is not known before it has been checked again
        next_job = None if self._intake.has_leftovers else self._queue.next()
        upcoming = self._queue.upcoming()
        act = self._commands.due_act
        self._look_around(next_job)
        return Situation(
            worker=self._supervisor.state,
            paused=self._commands.pause.is_set,
            stopping=self._commands.stopping,
            next_job=next_job.id if next_job else None,
            upcoming_job=upcoming[0].id if upcoming else None,
            upcoming_priority=upcoming[0].priority if upcoming else None,
            preempt=self._settings.current.daemon.preempt,
            drain=self._drain,
            is_obstructed=self._obstacle is not None or self._waits_for_space,
            act=act.reason if act else None,
            is_quiet=self._intake.is_quiet
            and not self._supervisor.has_unsaved
            and not self._chores.versions.is_busy,
        )

    def _look_around(self, next_job: Job | None) -> None:
        """Note what keeps this job from being started. Once it is, the worker looks after itself."""
        found = None
        if (
            next_job
            and not self._commands.pause.is_set
            and isinstance(self._supervisor.state, Absent | Ready)
        ):
            found = self._obstacles.obstacle(
                self._settings.current.daemon.min_free_bytes, advice=self._chores.disk.advice
            )
        self._waits_for_space = found is not None and self._chores.disk.is_freeing
        if self._waits_for_space:
            return  # it may be over in a moment
        before, self._obstacle = self._obstacle, found
        if found and not before:
            self._journal.record(TrainingBlocked(reason=found))
        elif before and not found:
            self._journal.record(TrainingUnblocked())

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
            case ActOnModel() | Leave() | Wait():
                pass

    # ---- showing

    def _note_empty_queue(self) -> None:
        """Record once that nothing is left to train, when there was something."""
        if len(self._queue) or not self._intake.is_quiet or self._supervisor.has_unsaved:
            self._empty_at = self._clock() + EMPTY_AFTER_S
        elif self._empty_at is not None and (self._is_over or self._clock() >= self._empty_at):
            self._empty_at = None
            self._journal.record(QueueEmptied())

    def _publish(self) -> None:
        state, reason = self._state()
        self._board.set_state(state, reason)
        self._board.files_waiting(self._queue.num_waiting())
        self._service.status(f"{state}: {reason}" if reason else state)
        self._ledger.thin(self._settings.current.daemon.step_rows_kept)
        self._journal.flush()
        self._ledger.commit()
        self._board.publish_if_due(self._refresh)

    def _state(self) -> tuple[State, str | None]:
        worker = self._supervisor.state
        if how := self._commands.stopping:
            is_loading = isinstance(worker, Loading) or (
                isinstance(worker, ShuttingDown) and worker.was_loading
            )
            if how is Stopping.AFTER_FILE and not is_loading and not isinstance(worker, Busy):
                return State.STOPPING, None if isinstance(worker, Absent) else "once the worker has exited"
            return State.STOPPING, stopping_words(how, is_loading=is_loading)
        if shown := self._commands.acts.shown:
            return shown
        cannot_save = (
            self._supervisor.process and self._supervisor.blocked
        )  # which whoever pauses wants to know
        if self._commands.pause.is_set and not self._supervisor.is_training and not cannot_save:
            return State.PAUSED, self._commands.paused_because
        if self._blocked:
            return State.BLOCKED, self._blocked
        if isinstance(worker, Loading):
            return State.LOADING, self._supervisor.loading_detail
        if isinstance(worker, Busy):
            return State.TRAINING, None
        if isinstance(worker, Absent) and worker.not_before > self._clock() and len(self._queue):
            return State.LOADING, "the worker is restarted after a delay, because it crashed"
        if isinstance(worker, ShuttingDown) and len(self._queue):
            return State.LOADING, "the worker exits, and another one takes its place"
        if self._intake.current_check:
            return State.CHECKING, None
        return State.IDLE, None

    def _refresh(self) -> None:
        worker = self._supervisor.process
        check = self._intake.current_check
        if not self._supervisor.has_job:
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
        due = [part.due_at() for part in (self._intake, self._board, self._service, self._chores)]
        if self._empty_at is not None:
            due.append(max(self._empty_at, now + LAST_BREATH_S))
        if self._decided_wait.until is not None:
            due.append(self._decided_wait.until)
        if worker := self._supervisor.process:
            # A process ends a moment after its connection does; and deadlines must be kept
            due.append(now + (1.0 if worker.is_connected else LAST_BREATH_S))
        timeout_s = max(0.0, self._failed_until - now, min(due) - now)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            if worker and worker.is_connected:
                selector.register(worker, selectors.EVENT_READ)
            selector.select(timeout_s)
        self._wake.clear()
