"""Carry out what people ask by control files and signals: pause, resume, skip, stop."""

from collections import deque
from collections.abc import Sequence

from daemon.consolidating import Consolidating
from daemon.control.control_files import FILES, Name, Request, read_requests, remove_request
from daemon.control.pause_file import PauseFile
from daemon.decide import Stopping
from daemon.forgetting import ForgettingOnRequest
from daemon.going_back import GoingBack, NoTarget, Wish
from daemon.intake.intake import Intake
from daemon.jobs.consolidation import REFUSED, CannotMerge
from daemon.jobs.forget_orders import NOT_FORGOTTEN, ForgetWish
from daemon.jobs.going_back import Requeue
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for
from daemon.journal.events import CommandAnswered, GateStuck, RequestNotRemoved, StopCancelled, StopRequested
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.supervision.supervisor import Supervisor
from daemon.supervision.worker_state import Absent, Busy, Loading, ShuttingDown
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.failpoints import failpoint
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import FaultKind, Job, Outcome
from trainer.protocol.layout import Layout

# A paused file would never come to its end, so a stop does not wait for it
STOPPING = "the daemon stops without waiting for the file; the next start is paused, too"


class Commands:
    """What was asked, and what has become of it.

    Args:
        pause: holds across restarts.
    """

    def __init__(
        self,
        layout: Layout,
        queue: JobQueue,
        ledger: Ledger,
        journal: Journal,
        intake: Intake,
        supervisor: Supervisor,
        pause: PauseFile,
        going_back: GoingBack,
        consolidating: Consolidating,
        forgetting: ForgettingOnRequest,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._intake = intake
        self._supervisor = supervisor
        self.pause = pause
        self._going_back = going_back
        self._consolidating = consolidating
        self._forgetting = forgetting
        self._signals = 0
        self._unanswered: list[tuple[Request, str | None]] = []  # with the job it is about
        self._unremovable: deque[Request] = deque(maxlen=len(FILES))  # carried out, and still there
        self.stopping: Stopping | None = None
        """How the daemon was asked to end."""

    def signal_stop(self) -> None:
        """Save at the next step and leave; asked again, leave without saving. Safe in a signal handler."""
        self._signals += 1

    def stop(self, how: Stopping, *, by_command: bool = False) -> None:
        """Have the daemon end."""
        self.stopping = how
        self._journal.record(StopRequested(when=str(how), by_command=by_command))
        self._answer_all(
            "forget", f"{NOT_FORGOTTEN}: the daemon stops; ask again, and it continues at its last checkpoint"
        )

    def refuse_old(self, found: Sequence[Request]) -> None:
        """Answer requests that lay there before the daemon started, but for those that hold for ever."""
        for request in read_requests(self._layout):
            if request in found and not request.is_lasting:
                self._answer(request, "too old: it was given before the daemon started")

    def carry_out(self, *, is_blocked: bool) -> None:
        """Do what was asked since the last call, and answer what has been done by now."""
        if self._signals and self.stopping is not Stopping.NOW:
            self.stop(Stopping.NOW)
        elif self._signals > 1:
            self._supervisor.kill()
        for request in read_requests(self._layout):
            if request not in self._unremovable:
                failpoint("control.read")
                self._take(request, is_blocked)
                failpoint("control.taken")
        self._answer_when_done()

    def _take(self, request: Request, is_blocked: bool) -> None:
        match request.name:
            case "pause":
                self.pause.set(request.reason, self._journal.now_text())
                self._supervisor.pause()
                self._accept(request)
            case "resume":
                self._answer(request, self._resume(is_blocked=is_blocked))
            case "skip":
                self._skip(request)
            case "go_back":
                self._go_back(request)
            case "consolidate":
                self._consolidate(request)
            case "forget":
                self._forget(request)
            case "stop":
                self.stop(self.stopping or Stopping.AFTER_FILE, by_command=True)
                self._answer(request, self._how_it_stops())
            case "stop_now":
                self.stop(Stopping.NOW, by_command=True)
                self._answer(request, "stopping at the next step")

    def _go_back(self, request: Request) -> None:
        if self._going_back.is_wanted:
            self._answer(request, "the model goes back already; wait until it is there")
            return
        wish = Wish(
            target=request.target or "",
            requeue=Requeue(is_wanted=request.requeue, without=request.without),
            reason=request.reason or "asked for",
        )
        try:
            self._going_back.ask(wish)
        except NoTarget as error:
            self._answer(request, f"the model did not go back: {error}")
        else:
            self._accept(request)

    def obey_gate(self, verdict: GateVerdict) -> bool:
        """Have the model go back to before the files that the gate refuses; return whether it can.

        Of several files nobody knows which is to blame: each is trained again, and then judged alone. What
        else was trained since is trained again, too.
        """
        to_blame = [file.job_id for file in verdict.files] if len(verdict.files) == 1 else []
        wish = Wish(
            target=f"{FOLDER}/{verdict.checkpoint}",
            requeue=Requeue(is_wanted=True, without=to_blame),
            reason=verdict.reason,
            why="gate",
        )
        try:
            self._going_back.ask(wish)
        except NoTarget as error:
            self._journal.record(GateStuck(problem=f"the model cannot go back: {error}"))
            return False
        return True

    def _forget(self, request: Request) -> None:
        if self._forgetting.is_wanted:
            self._answer(request, f"{NOT_FORGOTTEN}: it forgets another file already; wait until it has")
            return
        reason = request.reason or "asked for"
        name = request.target or ""
        self._forgetting.ask(ForgetWish(name=name, keep_versions=request.keep_versions, reason=reason))
        self._accept(request)

    def catch_up(self) -> None:
        """Follow a model that went back while no daemon ran."""
        self._going_back.catch_up()
        self._forgetting.catch_up()

    def go_back(self) -> bool:
        """Let the model go back, now that no worker runs; return whether it is done."""
        if self._going_back.is_wanted:
            result = self._going_back.advance()
            if result and result.why == "gate" and not result.is_done:
                self._journal.record(GateStuck(problem=result.answer))
            name: Name = "go_back"
            answer = result.answer if result else None
        else:
            name, answer = "forget", self._forgetting.advance()
        if answer is None:
            return False
        self._answer_all(name, answer)
        return True

    @property
    def is_going_back(self) -> bool:
        """Whether the model is to go back, or to forget a file. A stop does not wait for the latter."""
        return self._going_back.is_wanted or (self._forgetting.is_wanted and not self.stopping)

    @property
    def forgetting(self) -> str | None:
        """How far a file is forgotten, if one is at the moment."""
        return (self._forgetting.said or "starting") if self._forgetting.is_at_work else None

    # ---- merging the adapter

    def _consolidate(self, request: Request) -> None:
        try:
            if not self._consolidating.is_wanted:
                self._consolidating.ask(step=self._supervisor.global_step)
        except CannotMerge as error:
            self._answer(request, f"{REFUSED}: {error}")
        else:
            self._accept(request)

    def consolidate(self) -> bool:
        """Have the adapter merged, now that no worker runs; return whether that is over."""
        answer = self._consolidating.advance()
        if answer is None:
            return False
        self._answer_all("consolidate", answer)
        return True

    @property
    def is_consolidating(self) -> bool:
        """Whether the adapter is to be merged."""
        return self._consolidating.is_wanted

    @property
    def consolidation_detail(self) -> str:
        """How far that is."""
        return self._consolidating.detail

    def _how_it_stops(self) -> str:
        """Return in words what a stop waits for."""
        state = self._supervisor.state
        if self.pause.is_set:
            return f"paused, so {STOPPING}"
        if isinstance(state, Loading):
            return "stopping before training starts; the next start trains the file"
        if isinstance(state, Busy) and state.is_being_preempted:
            return "stopping as soon as the file gives way to an urgent one; the next start trains both"
        return "stopping after the current file"

    def _resume(self, *, is_blocked: bool) -> str:
        """Continue, and take back a stop that has not begun; return what was done in words."""
        was_paused = self.pause.clear()
        self._supervisor.resume()
        if self.stopping is Stopping.NOW:
            return "too late: the daemon is stopping; the next start continues the file"
        if self.stopping:
            self.stopping = None
            self._journal.record(StopCancelled())
            return "the stop is cancelled; training continues"
        if is_blocked:
            return "retrying what was blocked"
        if not was_paused:
            return "was not paused"
        return "training continues" if len(self._queue) else "no longer paused; the queue is empty"

    def _skip(self, request: Request) -> None:
        job, state = self._current_job(), self._supervisor.state
        if isinstance(state, ShuttingDown):
            self._answer(request, "too late: the worker is exiting, and the next start continues the file")
        elif isinstance(state, Busy):
            self._supervisor.skip(state.job_id)
            self._accept(request, state.job_id)
        elif job:
            self._put_away(job)
            self._answer(request, f"skipped {job.name}")
        elif check := self._intake.current_check:
            self._intake.skip_check()
            self._answer(request, f"skipped {check.name}")
        else:
            self._answer(request, "nothing to skip")

    def _current_job(self) -> Job | None:
        """Return what a person means by the current file: started, or the one that the worker loads for."""
        started = self._queue.started()
        if started:
            return started[0]
        return self._queue.next() if isinstance(self._supervisor.state, Loading) else None

    def _put_away(self, job: Job) -> None:
        reason = reason_for(job, FaultKind.REQUEST, "skipped on request", at=self._journal.now_text())
        self._queue.finish([Ending(job=job, outcome=Outcome.SKIPPED, reason=reason)])
        self._supervisor.forget(job.id)

    # ---- answering

    def _accept(self, request: Request, job_id: str | None = None) -> None:
        """Take the file away now, and answer when the worker has obeyed."""
        failpoint("control.accepted")
        self._remove(request)
        self._unanswered.append((request, job_id))

    def _answer_when_done(self) -> None:
        for request, job_id in list(self._unanswered):
            if request.name == "pause" and not (self._supervisor.is_training and self.pause.is_set):
                self._answer(request, self._pause_result())
            elif job_id and self._is_skipped(job_id):
                state = self._ledger.state_of(job_id)
                is_skipped = state == Outcome.SKIPPED
                self._answer(request, "skipped" if is_skipped else f"too late: it was already {state}")
            else:
                continue
            self._unanswered.remove((request, job_id))

    def _pause_result(self) -> str:
        if not self.pause.is_set:
            return "was resumed before it could pause"
        return f"paused, so {STOPPING}" if self.stopping else "paused"

    def _is_skipped(self, job_id: str) -> bool:
        """Whether a job's file has left.

        One that the worker gave back instead of skipping it (it died, or was preempted) is skipped here.
        """
        job = self._queue.find(job_id)
        if job and (isinstance(self._supervisor.state, Absent) or self._queue.is_waiting(job.id)):
            self._put_away(job)
            return True
        return job is None

    def _answer_all(self, name: Name, result: str) -> None:
        """Answer every request of a kind."""
        for request, job_id in [asked for asked in self._unanswered if asked[0].name == name]:
            self._answer(request, result)
            self._unanswered.remove((request, job_id))

    def _answer(self, request: Request, result: str) -> None:
        self._journal.record(CommandAnswered(name=request.name, request_id=request.id, result=result))
        failpoint("control.answered")
        self._remove(request)

    def _remove(self, request: Request) -> None:
        try:
            remove_request(request)
        except OSError as error:
            self._journal.record(RequestNotRemoved(path=str(request.path), problem=str(error)))
            self._unremovable.append(request)
