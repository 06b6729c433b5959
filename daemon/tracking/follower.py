"""Follow the ledger and send what is new to one tracker; no row is lost or sent twice.

Rows wait in the ledger while the tracker takes none; at most `PENDING` of them have been read.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daemon.ledger.reader import UnreadableLedger
from daemon.tracking.outbox import read_outbox, write_outbox
from daemon.tracking.rows import Row
from daemon.tracking.source import read_on
from daemon.tracking.tracker import NotSent, Tracker
from trainer.protocol.text import printable

logger = logging.getLogger(__name__)

STEPS_AT_ONCE = 2_000
PENDING = 6_000  # rows that are not known to be safe
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0  # between two tries; doubled each time
MEASURE_AFTER_S = 30.0

Measure = Callable[[], dict[str, float]]


class Follower:
    """Sends to one tracker.

    Args:
        file: says how far it has come; nobody else uses it.
        name: what the names of runs begin with.
        wait: waits for so many seconds, or less; returns False once it is time to end.
        measure: returns what is known of the memory in use, by name.
        clock: Unix seconds.
    Raises:
        UnreadableOutbox: the file cannot be used.
    """

    def __init__(
        self,
        ledger_file: Path,
        file: Path,
        tracker: Tracker,
        name: str,
        *,
        wait: Callable[[float], bool],
        measure: Measure = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger_file = ledger_file
        self._file = file
        self._tracker = tracker
        self._name = name
        self._wait = wait
        self._measure = measure
        self._measured_at = float("-inf")
        self._clock = clock
        self._is_open = self._is_ending = False
        self._unreadable: str | None = None
        self.outbox = read_outbox(file)

    def run(self, interval_s: float) -> None:
        """Send what is new until it is time to end; then what is there by then, if that can be sent."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                is_idle = not self._turn()
                if is_idle and self._is_ending:
                    self._close()
                    return
                self._note_problem(None)
                wait_s = FIRST_WAIT_S
            except NotSent as error:
                self._note_problem(f"{error}; trying again")
                self._is_open = False
                if self._is_ending:
                    return
                self._rest(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            if is_idle:
                self._rest(interval_s)

    def _rest(self, seconds: float) -> None:
        self._is_ending = not self._wait(seconds) or self._is_ending

    def _turn(self) -> bool:
        """Send what can be sent now; return whether there may be more at once."""
        if self.outbox.rows and not self._is_open:
            self._open()
            self._tracker.send(self._tracker.missing(self.outbox.rows))
        self._cross_out()
        if len(self.outbox.rows) >= PENDING:
            return False
        rows = self._read()
        if rows is None:
            return False
        if rows:
            self._open()
            self._tracker.send(rows)
            self._cross_out()
        return True

    # ---- reading

    def _read(self) -> list[Row] | None:
        """Return the next rows, which are in the outbox from now on; None if there is nothing new."""
        before = self.outbox.place
        try:
            found = read_on(self._ledger_file, before, limit=STEPS_AT_ONCE, now=self._clock())
        except UnreadableLedger as error:
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                logger.warning("%s", error)
            return None
        self._unreadable = None
        if found is None:
            return None
        if found.notice:
            logger.warning("%s", found.notice)
        if found.place.run(self._name).id != before.run(self._name).id:
            self._close()
        rows = found.rows
        self.outbox.place = found.place
        if memory := self._memory(rows):
            rows = [*rows, memory]
            self.outbox.place = replace(found.place, number=memory.number)
        self.outbox.rows += rows
        if rows:
            self._save(durable=True)
        return rows

    def _memory(self, rows: list[Row]) -> Row | None:
        """Return what is known of the memory in use while there are new steps; None if it is not time."""
        steps = [row for row in rows if "train/loss" in row.values]
        now = self._clock()
        if not steps or now - self._measured_at < MEASURE_AFTER_S or not (values := self._measure()):
            return None
        self._measured_at = now
        last = rows[-1].number
        return Row(number=last + 1, step=steps[-1].step, at=round(now, 3), kind="metrics", values=values)

    # ---- sending

    def _open(self) -> None:
        if not self._is_open:
            self._tracker.open(self.outbox.place.run(self._name))
            self._is_open = True

    def _cross_out(self) -> None:
        """Forget the rows that are safe."""
        if not self.outbox.rows:
            return
        confirmed = self._tracker.confirmed()
        left = [row for row in self.outbox.rows if row.number > confirmed]
        if len(left) < len(self.outbox.rows):
            self.outbox.rows = left
            self._save(durable=False)

    def _close(self) -> None:
        """End the run for now; all rows are safe then."""
        if self._is_open:
            self._tracker.close()
            self._is_open = False
            self.outbox.rows = []
        self._save(durable=True)

    def _note_problem(self, problem: str | None) -> None:
        problem = problem and printable(problem, limit=400)
        if problem == self.outbox.problem:
            return
        if problem:
            logger.warning("%s", problem)
        self.outbox.problem = problem
        self._save(durable=False)

    def _save(self, *, durable: bool) -> None:
        self.outbox.pid = os.getpid()
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        write_outbox(self._file, self.outbox, durable=durable)
