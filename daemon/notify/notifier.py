"""Follow the journal and tell what is to be sent. Its own file says how far it has come, and what is left.

What is to be sent is written there before anything is sent, and crossed out after each has arrived: a kill
repeats at most the one that was under way, and loses none.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon.journal.followers import Position, next_batch
from daemon.ledger.reader import UnreadableLedger
from daemon.notify.delivery import Deliver, NotDelivered
from daemon.notify.notification import MAX_AGE_S, Notification, Sent, age_s, merged, notifications
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.text import printable, utc_text

logger = logging.getLogger(__name__)

BATCH = 1_000  # events read at once
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0  # between two tries; doubled each time


@dataclass
class Outbox:
    """What the file says."""

    position: Position | None = None
    pending: list[Notification] = field(default_factory=list)
    sent: Sent = field(default_factory=Sent)
    problem: str | None = None
    """Why the newest try failed; None if it did not."""
    lost: int = 0
    """Notifications that could not be delivered and are not tried again."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is sent, and how often."""

    events: list[str]
    max_per_minute: int
    repeat_after_s: float


class Notifier:
    """Tells one command or one web server.

    Args:
        file: says how far it has come.
        first_event: the events after this one are sent if the file does not exist yet.
        place: host and base_dir, as notifications have them.
        wait: waits for so many seconds, or less; returns False once it is time to end.
        clock: Unix seconds.
    """

    def __init__(
        self,
        ledger_file: Path,
        file: Path,
        deliver: Deliver,
        rules: Rules,
        *,
        first_event: int,
        place: dict[str, str],
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger_file = ledger_file
        self._file = file
        self._deliver = deliver
        self._rules = rules
        self._first_event = first_event
        self._place = place
        self._wait = wait
        self._clock = clock
        self._is_ending = False
        self._unreadable: str | None = None
        self.outbox = _read(file)

    def run(self, interval_s: float) -> None:
        """Tell what happens until it is time to end; then what has happened by then, if that can be sent."""
        while self._send_pending() and (self._take_batch() or self._rest(interval_s)):
            pass

    def _rest(self, seconds: float) -> bool:
        """Wait; return whether to look again. Once it is time to end, there is one more look."""
        if self._is_ending:
            return False
        self._is_ending = not self._wait(seconds)
        return True

    # ---- from events to notifications

    def _take_batch(self) -> bool:
        """Turn the next events into notifications; return whether there were any events."""
        try:
            batch = next_batch(self._ledger_file, self.outbox.position or self._start(), limit=BATCH)
        except UnreadableLedger as error:
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                logger.warning("%s", error)
            return False
        self._unreadable = None
        if batch is None:
            return False
        if batch.notice:
            logger.warning("%s", batch.notice)
        now, sent = self._clock(), self.outbox.sent
        found = notifications(
            batch.events,
            sent,
            wanted=self._rules.events,
            ledger=batch.position.ledger,
            place=self._place,
            now=now,
            repeat_after_s=self._rules.repeat_after_s,
        )
        sent.free_at(now, self._rules.max_per_minute)
        is_too_many = len(found) > self._rules.max_per_minute - len(sent.at)
        self.outbox.position = batch.position
        self.outbox.pending = merged(found) if is_too_many else found
        self._save()
        return True

    def _start(self) -> Position | None:
        """Return the position of the first event, which holds for whatever ledger is there now."""
        first = next_batch(self._ledger_file, None, limit=1)
        return Position(first.position.ledger, self._first_event) if first and self._first_event else None

    # ---- sending

    def _send_pending(self) -> bool:
        """Deliver what is left, however long that takes; return False if it was not before the end."""
        wait_s = FIRST_WAIT_S
        while self.outbox.pending:
            now, one = self._clock(), self.outbox.pending[0]
            free_at = self.outbox.sent.free_at(now, self._rules.max_per_minute)
            if free_at > now and not self._is_ending:
                self._rest(free_at - now)
                continue
            try:
                self._deliver(one["id"], json.dumps(one).encode(), now)
            except NotDelivered as error:
                is_lost = error.is_final or age_s(one, now) > MAX_AGE_S
                self._note_failure(error, is_lost=is_lost)
                if not is_lost:
                    if not self._rest(wait_s):
                        return False
                    wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            wait_s = FIRST_WAIT_S
            self.outbox.sent.at.append(now)
            self.outbox.problem = None
            self.outbox.pending.pop(0)
            self._save()
        return True

    def _note_failure(self, error: NotDelivered, *, is_lost: bool) -> None:
        text = f"{error}; the notification is {'lost' if is_lost else 'sent again later'}"
        if text != self.outbox.problem:
            logger.warning("%s", text)
        self.outbox.problem = text
        if is_lost:
            self.outbox.lost += 1
            self.outbox.pending.pop(0)
        self._save()

    def _save(self) -> None:
        value = {**asdict(self.outbox), "at": utc_text(self._clock())}
        write_json(self._file, value, durable=False)


def _read(file: Path) -> Outbox:
    """Return what the file says; an empty outbox if there is none, or if it is none of ours."""
    try:
        value: dict[str, Any] = read_json(file)
        position = value["position"]
        return Outbox(
            position=Position(**position) if position else None,
            pending=value["pending"],
            sent=Sent(**value["sent"]),
            problem=value["problem"],
            lost=value["lost"],
        )
    except FileNotFoundError:
        return Outbox()
    except (OSError, UnreadableFile, KeyError, TypeError) as error:
        logger.warning("%s cannot be used: %s; following from now on", file.name, printable(str(error)))
        return Outbox()
