"""Have the model forget a file on request, while no worker runs: train again without it, and erase it."""

import logging
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from daemon.jobs.wishes import FORGETTING, NOT_FORGOTTEN, ForgetWish, is_published
from daemon.model_acts import CannotAct
from trainer.protocol import one_shot
from trainer.protocol.layout import ORDER_FILE, SCRATCH, Layout
from trainer.protocol.status import State
from trainer.protocol.text import printable, shell_word

if TYPE_CHECKING:
    from trainer.protocol.forgetting import Forgot

logger = logging.getLogger("daemon")


class ForgettingOnRequest:
    """One request at a time.

    Args:
        settings: returns all settings in force.
        backup_to: returns `backup.to`, with the password that it may hold.
        before: called before the ledger is read by a thread, so that it holds everything.
        after: has the queue and the ledger follow the newest checkpoint.
        on_result: called from a thread when `advance` has something to do.
    """

    name: Final[Name] = "forget"
    reason = "a file is forgotten"
    refusal = NOT_FORGOTTEN

    def __init__(
        self,
        layout: Layout,
        *,
        settings: Callable[[], Mapping[str, Any]],
        backup_to: Callable[[], str | None],
        before: Callable[[], None],
        after: Callable[[], None],
        on_result: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._backup_to = backup_to
        self._before = before
        self._after = after
        self._on_result = on_result
        self._wish: ForgetWish | None = None
        self._may_train = True
        self._is_to_be_finished = False
        self._thread: threading.Thread | None = None
        self._result: Forgot | Exception | None = None
        self._file: str | None = None  # the one that is being forgotten, for people
        self._said: str | None = None  # how far it is, likewise
        self._process: subprocess.Popen[bytes] | None = None
        self._is_asked_to_leave = False  # by a pause

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet; or a process is still at it."""
        return self._wish is not None or self._is_to_be_finished or self.is_at_work

    @property
    def is_at_work(self) -> bool:
        """Whether a process trains or erases at the moment."""
        return self._thread is not None

    @property
    def is_held_by_pause(self) -> bool:
        """Whether the model is trained again, or will be; what is only erased is, whatever is paused."""
        return self._wish is not None and self._may_train and not is_published(self._layout.models)

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while it is at work, which file is being forgotten, and how far that is."""
        if not self.is_at_work:
            return None
        return State.TRAINING, f"{FORGETTING} {self._file or 'a file'}: {self._said or 'starting'}"

    def ask(self, request: Request) -> None:
        """Have a file forgotten as soon as no worker runs.

        Raises:
            CannotAct: a file is being forgotten.
        """
        if self.is_wanted:
            which = "this file" if self._wish and self._wish.name == request.target else "a file"
            raise CannotAct(f"{NOT_FORGOTTEN}: it forgets {which} already; wait until it has")
        from daemon.jobs.forget_orders import may_train

        wish = ForgetWish(
            name=request.target or "",
            keep_versions=request.keep_versions,
            reason=request.reason or "asked for",
        )
        self._before()
        self._may_train = may_train(self._layout, wish)
        self._wish = wish  # last: what fails above is tried again

    def hold(self) -> None:
        """Have the process save at the next step and leave, if there is one."""
        self._is_asked_to_leave = self.is_at_work
        self._pass_on()

    def _pass_on(self) -> None:
        if self._is_asked_to_leave and self._process:
            self._process.terminate()

    def is_cut_off_by(self, how: Stopping) -> bool:
        """Return True: it may take hours, and its checkpoints are kept."""
        return True

    def withdraw(self) -> None:
        """Have a process leave; what it has trained is kept, and continued if it is asked for again."""
        self._wish = None
        self.hold()

    def catch_up(self) -> None:
        """Finish what an earlier daemon had published, but not erased."""
        self._is_to_be_finished = is_published(self._layout.models)

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._result is not None:
            return self._finish(self._result)
        if self._thread is None and self.is_wanted:
            self._before()
            arguments = (self._wish, dict(self._settings()), self._backup_to())
            self._thread = threading.Thread(target=self._carry_out, args=arguments, daemon=True)
            self._thread.start()
        return None

    def _carry_out(self, wish: ForgetWish | None, settings: Mapping[str, Any], backup_to: str | None) -> None:
        from daemon.jobs.forget_orders import order_to_forget
        from trainer.protocol.forgetting import MODULE, ForgetOrder, Forgot, read_header

        try:
            if wish:
                order_to_forget(self._layout, wish, settings)
            names = read_header(self._layout.models / SCRATCH / ORDER_FILE).erased.names
            self._file = names[0] if names else None
            order = ForgetOrder(base_dir=self._layout.base, backup_to=backup_to)
            self._result = one_shot.ask(
                MODULE, order, Forgot, on_start=self._take_process, on_progress=self._hear
            )
        except Exception as error:  # whatever it is: who has asked must have an answer
            self._result = error
        self._on_result()

    def _take_process(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._pass_on()  # a pause may have come before there was one

    def _hear(self, line: str) -> None:
        self._said = printable(line, limit=300)
        self._on_result()

    def _finish(self, result: "Forgot | Exception") -> str | None:
        from daemon.jobs.forget_orders import text_of

        if isinstance(result, Exception) and self._is_asked_to_leave:
            if self._wish:
                resume = f"training_controller resume --base-dir {shell_word(str(self._layout.base))}"
                logger.info("forgetting a file is held; it continues there after: %s", resume)
            self._put_down()
            self._on_result()  # the pause waits for this
            return None  # whatever else was wrong is wrong again then
        if isinstance(result, Exception):
            answer = f"{NOT_FORGOTTEN}: {printable(str(result))}"
        else:
            self._after()
            answer = text_of(result)
        if not self._wish:  # nobody waits for an answer
            logger.info("%s", answer)
        self._wish = None  # last: what fails above is tried again
        self._is_to_be_finished = False
        self._put_down()
        return answer

    def _put_down(self) -> None:
        self._thread = self._process = self._result = self._file = self._said = None
        self._is_asked_to_leave = False
