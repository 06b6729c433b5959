"""The journal: events come in, subscribers receive each once and in order."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.journal.events import CommandAnswered, JournalEvent
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from trainer.protocol.text import utc_text

logger = logging.getLogger("daemon")


class Subscriber(Protocol):
    """Hears of every event, and when it happened (UTC)."""

    def on_event(self, event: JournalEvent, at: str) -> None:
        """Take an event in. It must not raise: what happened has happened."""

    def flush(self) -> None:
        """Make up for what it could not do with events before; most subscribers have nothing to make up for.

        Raises:
            sqlite3.Error: it cannot be done yet.
        """
        return


class Journal:
    """Records what happens.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, subscribers: Sequence[Subscriber], *, clock: Callable[[], float] = time.time) -> None:
        self._subscribers = subscribers
        self._clock = clock

    def record(self, event: JournalEvent) -> None:
        """Pass an event on to every subscriber, in order. Never raises."""
        at = self.now_text()
        for subscriber in self._subscribers:
            subscriber.on_event(event, at)

    def flush(self) -> None:
        """Have subscribers make up for what they could not do with events before.

        Raises:
            sqlite3.Error: one cannot yet.
        """
        for subscriber in self._subscribers:
            subscriber.flush()

    def now_text(self) -> str:
        """Return the present time as all files of ours show it."""
        return utc_text(self._clock())


class LogLines(Subscriber):
    """Writes a line of the log for each event."""

    def on_event(self, event: JournalEvent, at: str) -> None:
        if not event.is_logged:
            return
        logger.log(event.level, event.message, extra={"job_id": event.job_id}, exc_info=event.has_traceback)


class StatusChanges(Subscriber):
    """Shows errors, alerts and answers in the status."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board

    def on_event(self, event: JournalEvent, at: str) -> None:
        for key in event.cleared_alerts:
            self._board.clear_alert(key)
        if event.alert:
            self._board.alert(*event.alert, is_warning=event.level < logging.ERROR)
        if event.ends_error:
            self._board.end_error()
        if event.error:
            self._board.error(*event.error, event.file)
        if isinstance(event, CommandAnswered):
            self._board.command(event.name, event.request_id, event.result)


class LedgerRows(Subscriber):
    """Writes a row of the ledger's table `events` for each event.

    One that the ledger cannot take, because the disk is full for instance, is kept and written later.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._unwritten: deque[tuple[JournalEvent, str]] = deque()

    def on_event(self, event: JournalEvent, at: str) -> None:
        self._unwritten.append((event, at))
        try:
            self.flush()
        except sqlite3.Error as error:
            # No event: it would be one more that the ledger cannot store
            logger.error("the ledger cannot store an event now: %s; it is written later", error)

    def flush(self) -> None:
        while self._unwritten:
            event, at = self._unwritten[0]
            level = logging.getLevelName(event.level).lower()
            self._ledger.add_event(event.kind, event.message, event.job_id, event.data(), at=at, level=level)
            self._unwritten.popleft()
