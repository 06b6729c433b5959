"""Have a backup made whenever one is due, by a process that stands back. The daemon itself reads no model.

What only backups need is imported when one is wanted, so that a daemon without them is no larger.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from daemon.journal.events import BackedUp, BackupFailed, BackupOverdue, BackupsTurnedOff
from daemon.journal.journal import Journal
from daemon.outcomes import outcome_of
from daemon.status.board import StatusBoard
from daemon.supervision.launcher import worker_environment
from trainer.protocol import one_shot
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.masking import shown_address
from trainer.protocol.one_shot import NoAnswer
from trainer.protocol.status import BackupStatus
from trainer.protocol.text import duration_text, printable

if TYPE_CHECKING:
    from trainer.config.backup_settings import BackupSettings
    from trainer.protocol.backups import BackupMade


NEVER = float("inf")
RETRY_S = 900.0
LOOK_AGAIN_S = 60.0  # while there is no checkpoint yet

Make = Callable[["BackupSettings"], "BackupMade"]


class AutomaticBackups:
    """Makes one backup at a time.

    Args:
        on_result: called from a thread when `look_after` has something to do.
        make: makes a backup and waits for it; None has a process do it.
        clock: monotonic seconds.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        board: StatusBoard,
        *,
        on_result: Callable[[], None],
        make: Make | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._board = board
        self._on_result = on_result
        self._make = make or self._ask
        self._clock = clock
        self._wall_clock = wall_clock
        self._settings: BackupSettings | None = None
        self._newest: BackupMade | None = None
        self._next_at = NEVER
        self._began_at: float | None = None  # None while none is being made
        self._overdue_at = NEVER
        self._result: BackupMade | Exception | None = None

    def look_after(self, settings: "BackupSettings") -> None:
        """Start what is due, and note what has come of it."""
        if settings is not self._settings:
            self._use(settings)
        if self._result is not None:
            self._note(self._result)
        if settings.to is None:
            return
        now = self._clock()
        if self._began_at is not None:
            if now >= self._overdue_at:
                self._overdue_at = NEVER
                self._journal.record(BackupOverdue(running_s=now - self._began_at, newest=self._newest_at))
        elif now >= self._next_at:
            self._start_if_due(settings)

    def due_at(self) -> float:
        """Return when `look_after` is to be called next, in monotonic seconds."""
        return self._next_at if self._began_at is None else self._overdue_at

    # ---- when

    def _use(self, settings: "BackupSettings") -> None:
        before, self._settings = self._settings, settings
        if settings.to is None:
            self._next_at = NEVER
            if before is not None and before.to is not None:
                self._board.set(backup=None)
                self._journal.record(BackupsTurnedOff())
        elif before is None or (before.to, before.interval_s) != (settings.to, settings.interval_s):
            self._plan(settings)

    def _plan(self, settings: "BackupSettings") -> None:
        """Find out when the next one is due: somebody may have made one by hand."""
        self._newest = self._read_newest()
        if self._newest and settings.to and self._newest.to != shown_address(settings.to, self._layout.base):
            self._newest = None  # it lies somewhere else
        self._show(problem=None)
        wait_s = 0.0
        if self._newest:
            age_s = self._wall_clock() - datetime.fromisoformat(self._newest.at).timestamp()
            wait_s = min(settings.interval_s, settings.interval_s - age_s)  # the clock may have been set back
        self._next_at = self._clock() + max(0.0, wait_s)

    def _read_newest(self) -> "BackupMade | None":
        from trainer.protocol.backups import RESULT_NAME, BackupMade

        try:
            return BackupMade.model_validate(read_json(self._layout.status / RESULT_NAME))
        except (OSError, UnreadableFile, ValidationError):
            return None

    @property
    def _newest_at(self) -> str | None:
        return self._newest.at if self._newest else None

    # ---- one

    def _start_if_due(self, settings: "BackupSettings") -> None:
        self._plan(settings)
        if self._next_at > self._clock():
            return
        from daemon.backups.ordering import has_checkpoint

        if not has_checkpoint(self._layout):
            self._next_at = self._clock() + LOOK_AGAIN_S
            return
        thread = threading.Thread(target=self._carry_out, args=(settings,), name="backup", daemon=True)
        thread.start()  # first: without a thread there would never be a result
        self._began_at = self._clock()
        self._overdue_at = self._began_at + max(settings.interval_s, RETRY_S)

    def _carry_out(self, settings: "BackupSettings") -> None:
        self._result = outcome_of(lambda: self._make(settings), failure="a backup could not be made")
        self._on_result()

    def _ask(self, settings: "BackupSettings") -> "BackupMade":
        from daemon.backups.ordering import creation
        from trainer.protocol.backups import MODULE, BackupMade

        why = f"every {duration_text(settings.interval_s)}"
        order = creation(self._layout, settings, settings.to or "", why=why, is_automatic=True)
        return one_shot.ask(MODULE, order, BackupMade, environment=worker_environment(), on_progress=_drop)

    def _note(self, result: "BackupMade | Exception") -> None:
        self._began_at, self._result = None, None
        interval_s = self._settings.interval_s if self._settings else RETRY_S
        if isinstance(result, Exception):
            retry_s = min(RETRY_S, interval_s)
            who = "the process that makes it " if isinstance(result, NoAnswer) else ""
            problem = printable(f"{who}{result}", limit=300)
            self._next_at = self._clock() + retry_s
            self._show(problem=problem)
            self._journal.record(BackupFailed(problem=problem, newest=self._newest_at, retry_in_s=retry_s))
            return
        self._newest = result
        self._next_at = self._clock() + interval_s
        self._show(problem=None)
        self._journal.record(
            BackedUp(
                backup=result.id,
                to=result.to,
                step=result.global_step,
                sent_bytes=result.sent_bytes,
                total_bytes=result.total_bytes,
                seconds=result.seconds,
                shares_device=result.shares_device,
                pruned=result.pruned,
                notes=result.notes,
            )
        )

    def _show(self, *, problem: str | None) -> None:
        newest = self._newest
        shown = BackupStatus(problem=problem)
        if newest:
            shown = BackupStatus(
                id=newest.id, at=newest.at, to=newest.to, step=newest.global_step, problem=problem
            )
        self._board.set(backup=shown)


def _drop(words: str) -> None:
    """How far it is interests nobody."""
