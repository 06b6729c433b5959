"""Have the model forget a file on request, while no worker runs: train again without it, and erase it."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.jobs.forgetting import CannotForget, Forgetting, found_content
from daemon.ledger.forgetting import reading_to_forget
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.forgetting import (
    MODULE,
    ORDER_FILE,
    SCRATCH,
    ForgetOrder,
    Forgot,
    UnreadableOrder,
    read_header,
    write_order,
)
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch, Manifest
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import num_of, printable

LOG_EVERY = 6  # of its messages, which come every five seconds

logger = logging.getLogger("daemon")


@dataclass(frozen=True, kw_only=True)
class ForgetWish:
    """What somebody has asked for."""

    name: str
    """Of the file, the id of its job, or its SHA-256."""
    keep_versions: bool
    reason: str


class ForgettingOnRequest:
    """One request at a time.

    Args:
        settings: returns all settings in force.
        before: called before the ledger is read by a thread, so that it holds everything.
        after: has the queue and the ledger follow the newest checkpoint.
        on_result: called from a thread when `advance` has something to do.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        settings: Callable[[], Mapping[str, Any]],
        before: Callable[[], None],
        after: Callable[[], None],
        on_result: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._before = before
        self._after = after
        self._on_result = on_result
        self._wish: ForgetWish | None = None
        self._is_to_be_finished = False
        self._thread: threading.Thread | None = None
        self._result: Forgot | Exception | None = None
        self._num_said = 0
        self.said: str | None = None
        """How far it is, for people."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet."""
        return self._wish is not None or self._is_to_be_finished

    @property
    def is_at_work(self) -> bool:
        """Whether a process trains or erases at the moment."""
        return self._thread is not None

    def ask(self, wish: ForgetWish) -> None:
        """Have a file forgotten as soon as no worker runs."""
        self._wish = wish

    def catch_up(self) -> None:
        """Finish what an earlier daemon had published, but not erased."""
        self._is_to_be_finished = is_published(self._layout.models)

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._result is not None:
            return self._finish(self._result)
        if self._thread is None and self.is_wanted:
            self._before()
            settings = dict(self._settings())
            self._thread = threading.Thread(target=self._carry_out, args=(settings,), daemon=True)
            self._thread.start()
        return None

    def _carry_out(self, settings: Mapping[str, Any]) -> None:
        try:
            if self._wish:
                order_to_forget(self._layout, self._wish, settings)
            self._result = one_shot.ask(
                MODULE, ForgetOrder(base_dir=self._layout.base), Forgot, on_progress=self._hear
            )
        except (OSError, OrderRefused, NoAnswer, CannotForget, UnreadableLedger) as error:
            self._result = error
        self._on_result()

    def _hear(self, line: str) -> None:
        self.said = printable(line, limit=300)
        if self._num_said % LOG_EVERY == 0:
            logger.info("forgetting: %s", self.said)
        self._num_said += 1
        self._on_result()

    def _finish(self, result: Forgot | Exception) -> str:
        if isinstance(result, Forgot):
            self._after()
            answer = text_of(result)
        else:
            answer = f"the model did not forget: {printable(str(result))}"
        logger.info("%s", answer)
        self._wish = self._thread = self._result = self.said = None  # last: what fails above is tried again
        self._is_to_be_finished = False
        return answer


def order_to_forget(layout: Layout, wish: ForgetWish, settings: Mapping[str, Any]) -> None:
    """Write the order for the process that does it.

    Raises:
        CannotForget: it cannot be done.
        UnreadableLedger: the ledger cannot be read.
        OSError: it cannot be written.
    """
    with reading_to_forget(layout.ledger_file) as ledger:
        content = found_content(ledger, wish.name)
        newest = newest_of(layout.models)
        forgetting = Forgetting(layout, ledger, content, newest, keep_versions=wish.keep_versions)
        header = forgetting.header(settings=settings, reason=wish.reason)
        write_order(layout.models / SCRATCH / ORDER_FILE, header, forgetting.items())


def newest_of(models: Path) -> tuple[str, Manifest] | None:
    """Return the checkpoint that the model has; None if there is none.

    Raises:
        CannotForget: it cannot be read.
    """
    try:
        path = (models / POINTER).resolve(strict=True)
    except OSError:
        return None
    try:
        return path.name, read_manifest(path)
    except (DamagedCheckpoint, NoUsableCheckpoint) as error:
        raise CannotForget(f"{path.name}: {error}") from error


def is_published(models: Path) -> bool:
    """Whether a model without a file was published, but what is left of the file was not erased."""
    folder = models / SCRATCH
    try:
        read_header(folder / ORDER_FILE)
        branch = Branch.model_validate(json.loads((folder / "branch.json").read_bytes()))
        newest = newest_of(models)
    except (OSError, ValueError, UnreadableOrder, CannotForget):
        return False
    return newest is not None and branch in newest[1].branches


def text_of(result: Forgot) -> str:
    """Return what was done in words."""
    steps = f" ({num_of(result.trained_steps, 'step')})" if result.trained_steps else ""
    done = f"{result.branch.text}{steps}" if result.branch else "the model had never seen the file"
    left = "; not erased: " + "; ".join(result.unreached) if result.unreached else ""
    return f"{done}; the file is erased{left}"
