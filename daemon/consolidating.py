"""Have the adapter merged into its base model on request, while no worker runs."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from daemon.jobs.consolidation import REFUSED, order_consolidation, plan_consolidation
from daemon.journal.events import ModelConsolidated
from daemon.journal.journal import Journal
from trainer.protocol import one_shot
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable
from trainer.versions.consolidation import MODULE, Consolidated


class Consolidating:
    """One request at a time.

    Args:
        settings: returns those in force, as JSON values.
        on_result: called from a thread when `advance` has something to do.
    """

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        settings: Callable[[], Mapping[str, Any]],
        *,
        on_result: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._settings = settings
        self._on_result = on_result
        self._thread: threading.Thread | None = None
        self._result: Consolidated | Exception | None = None
        self.is_wanted = False
        """Whether somebody has asked for it, and has no answer yet."""
        self.detail = "merging the adapter"
        """How far it is; printable."""

    def ask(self, *, step: int | None) -> None:
        """Have the adapter merged as soon as no worker runs.

        Args:
            step: the global step of the model; None if that is not known.
        Raises:
            CannotMerge: there is none.
        """
        plan_consolidation(self._layout, self._settings()["training"]["method"], step=step)
        self.is_wanted = True

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._result is not None:
            return self._finish(self._result)
        if self._thread is None:
            self._thread = threading.Thread(target=self._carry_out, args=(self._settings(),), daemon=True)
            self._thread.start()
        return None

    def _carry_out(self, settings: Mapping[str, Any]) -> None:
        try:
            order = order_consolidation(self._layout, settings, clock=time.time)
            self._result = one_shot.ask(MODULE, order, Consolidated, on_progress=self._hear)
        except Exception as error:  # whatever it is: who has asked must have an answer
            self._result = error
        self._on_result()

    def _hear(self, words: str) -> None:
        self.detail = f"merging the adapter: {printable(words, limit=200)}"

    def _finish(self, result: Consolidated | Exception) -> str:
        if isinstance(result, Exception):
            answer = f"{REFUSED}: {printable(str(result))}"
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
