"""Carry out what people ask by control files and signals: pause, resume, skip, stop."""

from collections import deque
from collections.abc import Sequence

from daemon.control.control_files import (
    FILES,
    FOR_PEOPLE,
    Name,
    Request,
    read_requests,
    remove_request,
    unknown_names,
)
from daemon.control.pause_file import PauseFile
from daemon.decide import Stopping
from daemon.going_back import GoingBack
from daemon.intake.intake import Intake
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.jobs.reasons import reason_for
from daemon.journal.events import (
    CommandAnswered,
    NoUnknownControlFiles,
    RequestNotRemoved,
    StopCancelled,
    StopRequested,
    UnknownControlFiles,
)
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.model_acts import ModelAct, ModelActs
from daemon.supervision.supervisor import Supervisor
from daemon.supervision.worker_state import Absent, Busy, Loading, ShuttingDown
from trainer.protocol.failpoints import failpoint
from trainer.protocol.gate import GateVerdict
from trainer.protocol.job import FaultKind, Job, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

WITH_REASON = ("pause", "resume", "skip", "stop", "stop_now")  # those of acts have events of their own
NAMED = 3  # of all control files that are not understood
TOO_LATE = "too late: the daemon stops; ask again once it runs"


class Commands:
    """What was asked, and what has become of it.

    Args:
        pause: holds across restarts.
        acts: on the model, which are carried out while no worker runs.
        going_back: the one of them that the gate asks for, too.
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
        acts: ModelActs,
        going_back: GoingBack,
    ) -> None:
        self._layout = layout
        self._queue = queue
        self._ledger = ledger
        self._journal = journal
        self._intake = intake
        self._supervisor = supervisor
        self.pause = pause
        self.acts = acts
        self._going_back = going_back
        self._signals = 0
        self._unanswered: list[tuple[Request, str | None]] = []  # with the job it is about
        self._unremovable: deque[Request] = deque(maxlen=len(FILES))  # carried out, and still there
        self._unknown: Sequence[str] = []  # names in control/, as they were reported
        self.stopping: Stopping | None = None
        """How the daemon was asked to end."""

    def signal_stop(self) -> None:
        """Save at the next step and leave; asked again, leave without saving. Safe in a signal handler."""
        self._signals += 1

    def stop(self, how: Stopping, *, by_command: bool = False) -> None:
        """Have the daemon end."""
        self.stopping = how
        self._journal.record(StopRequested(when=str(how), by_command=by_command))
        for name, answer in self.acts.cut_off_by(how):
            self._answer_all(name, answer)

    def refuse_old(self, found: Sequence[Request]) -> None:
        """Answer requests that lay there before the daemon started, but for those that hold for ever."""
        for request in read_requests(self._layout):
            if request in found and not request.is_lasting:
                self._refuse(request, "too old: it was given before the daemon started")

    def say_goodbye(self) -> None:
        """Answer whoever still waits for an answer: nothing will be carried out any more."""
        self._answer_when_done()
        for name, answer in self.acts.cut_off():
            self._answer_all(name, answer)
        for request, _ in self._unanswered:
            self._refuse(request, TOO_LATE)
        self._unanswered.clear()
        for request in read_requests(self._layout):
            if request not in self._unremovable and not request.is_lasting:
                is_obeyed = request.name in ("stop", "stop_now")
                self._refuse(request, "the daemon stops already" if is_obeyed else TOO_LATE)

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
        self._report_unknown(unknown_names(self._layout))
        self._answer_when_done()

    def _report_unknown(self, names: Sequence[str]) -> None:
        """Report what lies there and is no request, when that has changed."""
        if names == self._unknown:
            return
        self._unknown = names
        if names:
            named = tuple(printable(name, limit=60) for name in names[:NAMED])
            more = len(names[NAMED:])
            self._journal.record(UnknownControlFiles(names=named, more=more, expected=FOR_PEOPLE))
        else:
            self._journal.record(NoUnknownControlFiles())

    def _take(self, request: Request, is_blocked: bool) -> None:
        match request.name:
            case "pause":
                self._pause(request)
            case "resume":
                self._answer(request, self._resume(is_blocked=is_blocked))
            case "skip":
                self._skip(request)
            case "go_back" | "consolidate" | "forget":
                if refusal := self.acts.ask(request, stopping=self.stopping):
                    self._answer(request, refusal)
                else:
                    self._accept(request)
            case "stop":
                self.stop(self.stopping or Stopping.AFTER_FILE, by_command=True)
                self._answer(request, self._how_it_stops())
            case "stop_now":
                self.stop(Stopping.NOW, by_command=True)
                self._answer(request, "stopping at the next step")

    # ---- acting on the model

    def obey_gate(self, verdict: GateVerdict) -> bool:
        """Have the model go back to before the files that the gate refuses; return whether it can."""
        return self._going_back.obey_gate(verdict)

    @property
    def is_going_back(self) -> bool:
        """Whether the model is to go back, for the gate or for a person."""
        return self._going_back.is_wanted

    @property
    def due_act(self) -> ModelAct | None:
        """What is to be done to the model now."""
        return self.acts.due(stopping=self.stopping, is_paused=self.pause.is_set)

    def act_on_model(self) -> bool:
        """Carry out what is due, now that no worker runs; return whether it is over."""
        act = self.due_act
        if act is None:
            return True
        answer = act.advance()
        if answer is None:
            return False
        self._answer_all(act.name, answer)
        return True

    # ---- the rest

    def _how_it_stops(self) -> str:
        """Return in words what a stop waits for."""
        state = self._supervisor.state
        if self.pause.is_set:
            return self._paused_and_stopping()
        if isinstance(state, Loading):
            then = "; the next start trains the file" if len(self._queue) else ""
            return f"stopping before training starts{then}"
        if isinstance(state, Busy) and state.is_being_preempted:
            return "stopping as soon as the file gives way to an urgent one; the next start trains both"
        if isinstance(state, Busy):
            return "stopping after the current file"
        if isinstance(state, ShuttingDown) and state.job_id:
            return "stopping once the worker has exited; the next start continues the file"
        return "stopping; no file is being trained"

    def _paused_and_stopping(self) -> str:
        # A paused file would never come to its end, so a stop does not wait for it
        how = "without waiting for the file" if self._queue.started() else "at once"
        return f"paused, so the daemon stops {how}; the next start is paused, too"

    def _pause(self, request: Request) -> None:
        was_paused, before = self.pause.is_set and not self._is_training, self.pause.reason
        self.pause.set(request.reason, self._journal.now_text())
        self._supervisor.pause()
        self.acts.hold()
        if not was_paused or self.stopping:
            self._accept(request)
        elif self.pause.reason != before:
            self._answer(request, "was paused already; the reason is now the one given")
        else:
            self._answer(request, f"was paused already ({before})" if before else "was paused already")

    def _resume(self, *, is_blocked: bool) -> str:
        """Continue, and take back a stop that has not begun; return what was done in words."""
        was_paused = self.pause.clear()
        self._supervisor.resume()
        if self.stopping is Stopping.NOW:
            then = "; the next start continues the file" if self._queue.started() else ""
            return f"too late: the daemon is stopping{then}"
        if self.stopping:
            self.stopping = None
            self._journal.record(StopCancelled())
            then = "training continues" if len(self._queue) else "the queue is empty"
            return f"the stop is cancelled; {then}"
        if is_blocked:
            return "retrying what was blocked"
        if not was_paused:
            return "was not paused"
        if self.acts.is_held:
            return "training continues; a file is forgotten first"
        return "training continues" if len(self._queue) else "no longer paused; the queue is empty"

    def _skip(self, request: Request) -> None:
        job, state = self._current_job(), self._supervisor.state
        if isinstance(state, ShuttingDown) and state.job_id:
            self._answer(request, "too late: the worker is exiting, and the next one continues the file")
        elif shown := self.acts.shown:
            self._answer(request, f"no file is in training, so there is nothing to skip; {shown[1]}")
        elif isinstance(state, Busy):
            self._supervisor.skip(state.job_id)
            self._accept(request, state.job_id)
        elif job:
            self._put_away(job)
            self._answer(request, f"skipped {job.name}", job.id)
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
            if request.name == "pause" and not (self._is_training and self.pause.is_set):
                self._answer(request, self._pause_result())
            elif job_id and self._is_skipped(job_id):
                state = self._ledger.state_of(job_id)
                is_skipped = state == Outcome.SKIPPED
                known = self._ledger.find_job(job_id)
                name = known.job.name if known else "the file"
                answer = f"skipped {name}" if is_skipped else f"too late: {name} was already {state}"
                self._answer(request, answer, job_id)
            else:
                continue
            self._unanswered.remove((request, job_id))

    @property
    def paused_because(self) -> str | None:
        """The reason of a pause, and what it holds besides files."""
        held = "a file is forgotten after the pause" if self.acts.is_held else None
        return "; ".join(filter(None, (self.pause.reason, held))) or None

    @property
    def _is_training(self) -> bool:
        return self._supervisor.is_training or self.acts.is_training

    def _pause_result(self) -> str:
        if not self.pause.is_set:
            return "was resumed before it could pause"
        return self._paused_and_stopping() if self.stopping else "paused"

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

    def _refuse(self, request: Request, why: str) -> None:
        self._answer(request, self.acts.refused(request.name, why))

    def _answer(self, request: Request, result: str, job_id: str | None = None) -> None:
        reason = request.reason if request.name in WITH_REASON else None
        self._journal.record(
            CommandAnswered(
                name=request.name, request_id=request.id, result=result, reason=reason, job_id=job_id
            )
        )
        failpoint("control.answered")
        self._remove(request)

    def _remove(self, request: Request) -> None:
        try:
            remove_request(request)
        except OSError as error:
            self._journal.record(RequestNotRemoved(path=str(request.path), problem=str(error)))
            self._unremovable.append(request)
