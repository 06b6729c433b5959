"""Have the model forget a file on request, while no worker runs: train again without it, and erase it."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from daemon.jobs.wishes import NOT_FORGOTTEN, ForgetWish
from daemon.model_acts import CannotAct
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import FOLDER, NoUsableCheckpoint, published, read_manifest
from trainer.protocol.layout import ORDER_FILE, SCRATCH, Layout
from trainer.protocol.manifest import Branch
from trainer.protocol.status import State
from trainer.protocol.text import printable

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
        self._is_to_be_finished = False
        self._thread: threading.Thread | None = None
        self._result: Forgot | Exception | None = None
        self._said: str | None = None  # how far it is, for people

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet."""
        return self._wish is not None or self._is_to_be_finished

    @property
    def is_at_work(self) -> bool:
        """Whether a process trains or erases at the moment."""
        return self._thread is not None

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while it is at work, and how far it is."""
        return (State.TRAINING, f"forgetting a file: {self._said or 'starting'}") if self.is_at_work else None

    def ask(self, request: Request) -> None:
        """Have a file forgotten as soon as no worker runs.

        Raises:
            CannotAct: another file is being forgotten.
        """
        if self.is_wanted:
            raise CannotAct(f"{NOT_FORGOTTEN}: it forgets another file already; wait until it has")
        self._wish = ForgetWish(
            name=request.target or "",
            keep_versions=request.keep_versions,
            reason=request.reason or "asked for",
        )

    def answer_to_stop(self, how: Stopping) -> str | None:
        """Return the answer to any stop: it may take hours, and its checkpoints are kept."""
        return f"{NOT_FORGOTTEN}: the daemon stops; ask again, and it continues at its last checkpoint"

    def catch_up(self) -> None:
        """Finish what an earlier daemon had published, but not erased."""
        self._is_to_be_finished = is_published(self._layout.models)

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._result is not None:
            return self._finish(self._result)
        if self._thread is None and self.is_wanted:
            self._before()
            arguments = (dict(self._settings()), self._backup_to())
            self._thread = threading.Thread(target=self._carry_out, args=arguments, daemon=True)
            self._thread.start()
        return None

    def _carry_out(self, settings: Mapping[str, Any], backup_to: str | None) -> None:
        from daemon.jobs.forget_orders import order_to_forget
        from trainer.protocol.forgetting import MODULE, ForgetOrder, Forgot

        try:
            if self._wish:
                order_to_forget(self._layout, self._wish, settings)
            order = ForgetOrder(base_dir=self._layout.base, backup_to=backup_to)
            self._result = one_shot.ask(MODULE, order, Forgot, on_progress=self._hear)
        except Exception as error:  # whatever it is: who has asked must have an answer
            self._result = error
        self._on_result()

    def _hear(self, line: str) -> None:
        self._said = printable(line, limit=300)
        self._on_result()

    def _finish(self, result: "Forgot | Exception") -> str:
        from daemon.jobs.forget_orders import text_of

        if isinstance(result, Exception):
            answer = f"{NOT_FORGOTTEN}: {printable(str(result))}"
        else:
            self._after()
            answer = text_of(result)
        if not self._wish:  # nobody waits for an answer
            logger.info("%s", answer)
        self._wish = self._thread = self._result = self._said = None  # last: what fails above is tried again
        self._is_to_be_finished = False
        return answer


def is_published(models: Path) -> bool:
    """Whether a model without a file was published, but what is left of the file was not erased."""
    folder = models / SCRATCH
    if not (folder / ORDER_FILE).exists():
        return False
    from trainer.protocol.forgetting import UnreadableOrder, read_header

    try:
        read_header(folder / ORDER_FILE)
        branch = Branch.model_validate(json.loads((folder / "branch.json").read_bytes()))
        newest = next(iter(published(models / FOLDER)), None)  # the pointer may not have come so far
        return newest is not None and branch in read_manifest(newest).branches
    except (OSError, ValueError, UnreadableOrder, NoUsableCheckpoint):
        return False
