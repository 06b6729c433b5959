"""Have the adapter merged into its base model on request, while no worker runs."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from daemon.jobs.wishes import NOT_MERGED
from daemon.journal.events import ModelConsolidated
from daemon.journal.journal import Journal
from daemon.model_acts import CannotAct
from trainer.protocol import one_shot
from trainer.protocol.layout import Layout
from trainer.protocol.status import State
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.versions.consolidation import Consolidated


class Consolidating:
    """One request at a time.

    Args:
        settings: returns those in force, as JSON values.
        step: returns the global step of the model, or None if that is not known.
        on_result: called from a thread when `advance` has something to do.
    """

    name: Final[Name] = "consolidate"
    reason = "the adapter is merged"
    refusal = NOT_MERGED
    is_held_by_pause = False  # it trains nothing

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        *,
        settings: Callable[[], Mapping[str, Any]],
        step: Callable[[], int | None],
        on_result: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._settings = settings
        self._step = step
        self._on_result = on_result
        self._thread: threading.Thread | None = None
        self._result: Consolidated | Exception | None = None
        self.is_wanted = False
        """Whether somebody has asked for it, and has no answer yet."""
        self._detail = "merging the adapter"  # printable

    @property
    def is_at_work(self) -> bool:
        """Whether a process merges at the moment."""
        return self._thread is not None

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while it is at work, and how far it is."""
        return (State.LOADING, self._detail) if self.is_at_work else None

    def ask(self, request: Request) -> None:
        """Have the adapter merged as soon as no worker runs.

        Raises:
            CannotAct: there is none.
        """
        if self.is_wanted:
            return  # one merge is the answer to both
        from daemon.jobs.consolidation import CannotMerge, plan_consolidation

        try:
            plan_consolidation(self._layout, self._settings()["training"]["method"], step=self._step())
        except CannotMerge as error:
            raise CannotAct(f"{NOT_MERGED}: {error}") from error
        self.is_wanted = True

    def hold(self) -> None:
        """Do nothing: it trains nothing."""

    def is_cut_off_by(self, how: Stopping) -> bool:
        """Whether it is a stop at once: it may take minutes, and nothing is lost if it is cut off."""
        return how is Stopping.NOW

    def withdraw(self) -> None:
        """Leave the adapter as it is, unless it is merged at this moment."""
        self.is_wanted = False

    def catch_up(self) -> None:
        """Do nothing: what was published is whole, and nothing has to follow it."""

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._result is not None:
            return self._finish(self._result)
        if self._thread is None:
            self._thread = threading.Thread(target=self._carry_out, args=(self._settings(),), daemon=True)
            self._thread.start()
        return None

    def _carry_out(self, settings: Mapping[str, Any]) -> None:
        from daemon.jobs.consolidation import order_consolidation
        from trainer.versions.consolidation import MODULE, Consolidated

        try:
            order = order_consolidation(self._layout, settings, clock=time.time)
            self._result = one_shot.ask(MODULE, order, Consolidated, on_progress=self._hear)
        except Exception as error:  # whatever it is: who has asked must have an answer
            self._result = error
        self._on_result()

    def _hear(self, words: str) -> None:
        self._detail = f"merging the adapter: {printable(words, limit=200)}"

    def _finish(self, result: "Consolidated | Exception") -> str:
        if isinstance(result, Exception):
            answer = f"{NOT_MERGED}: {printable(str(result))}"
        else:
            done = result.consolidation
            self._journal.record(
                ModelConsolidated(
                    global_step=done.global_step,
                    base=done.base,
                    kept_as=done.kept_as,
                    max_difference=done.max_difference,
                )
            )
            answer = result.text
        self.is_wanted, self._thread, self._result = False, None, None
        return answer
