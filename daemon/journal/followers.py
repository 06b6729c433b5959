"""Follow the journal from another process: all events of the ledger in order, none missed or repeated.

A follower keeps its own position: the ledger it reads, and the last event it has taken. One that stores the
position together with what it makes of the events (in one write, one transaction) repeats nothing, whenever
it is killed; `daemon.journal.json_lines` is such a follower, and an example to start from.

A package offers one by an entry point:

    [project.entry-points."training_daemon.followers"]
    my_tracker = "my_package:MyTracker"       # called with the working directory as a Path
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from daemon.ledger.event_stream import RecordedEvent, read_stretch
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol.layout import Layout
from trainer.protocol.text import num_of

GROUP = "training_daemon.followers"
OWN = [EntryPoint("json_lines", "daemon.journal.json_lines:JsonLines", GROUP)]
BATCH = 1_000  # events read at once


class FollowerFailed(RuntimeError):
    """A follower cannot work; the message says why, and what to do."""


class UnknownFollower(FollowerFailed):
    """No installed package offers a follower of that name."""


@dataclass(frozen=True)
class Position:
    """How far a follower has come."""

    ledger: str
    """The identity of the ledger. A damaged one is replaced by another, which counts its events from 1."""
    event_id: int
    """The last event taken."""


@dataclass(frozen=True)
class Batch:
    """Events that come one after the other."""

    events: Sequence[RecordedEvent]
    position: Position
    """After the last of them."""
    notice: str | None = None
    """What a person should know: events that the ledger no longer has."""


class Follower(Protocol):
    """Takes in what happens."""

    def position(self) -> Position | None:
        """Return how far it has come, as it was stored; None before its first event."""
        ...

    def take(self, batch: Batch) -> None:
        """Take in events, and store the position after them: best in one step."""
        ...


def next_batch(ledger_file: Path, position: Position | None, *, limit: int) -> Batch | None:
    """Return the events after a position; None if there are none.

    A ledger that was replaced by another one is followed from its first event. One that was replaced by an
    older copy of itself is followed from its newest event on.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    found = read_stretch(ledger_file, after=position.event_id if position else 0, limit=limit)
    if found is None:
        return None
    if position and position.ledger != found.ledger:
        batch = next_batch(ledger_file, None, limit=limit)
        return batch and replace(batch, notice="the ledger is another one; what the old one had left is lost")
    if position and found.newest < position.event_id:
        notice = "the ledger was replaced by an older copy; following from its newest event on"
        return Batch([], Position(found.ledger, found.newest), notice)
    if not found.events:
        return None
    num_lost = found.events[0].id - (position.event_id if position else 0) - 1
    lost = f"{num_of(num_lost, 'event')} lost: the ledger keeps only the newest ones" if num_lost else None
    return Batch(found.events, Position(found.ledger, found.events[-1].id), lost)


def follow(
    follower: Follower,
    layout: Layout,
    *,
    wait: Callable[[], bool],
    report: Callable[[str], None],
    is_ending: Callable[[], bool] = lambda: False,
) -> None:
    """Pass events on as they come, until asked to end.

    Args:
        wait: called when there is nothing to pass on; whether to look again.
        report: called with what was lost, and with why the ledger cannot be read.
        is_ending: asked between batches.
    Raises:
        UnreadableLedger: it could not be read when it was time to end.
        OSError: the follower could not take events when it was time to end.
    """
    problem: UnreadableLedger | None = None
    while not is_ending():
        try:
            batch = next_batch(layout.ledger_file, follower.position(), limit=BATCH)
        except UnreadableLedger as error:
            if str(error) != str(problem):
                report(str(error))
            problem = error
            if not wait():
                raise
            continue
        problem = None
        if batch is None:
            if not wait():
                return
            continue
        if batch.notice:
            report(batch.notice)
        try:
            follower.take(batch)
        except OSError as error:  # a full disk, say
            report(f"the events after {batch.events[0].id - 1} cannot be passed on: {error}; trying again")
            if not wait():
                raise


def load_follower(name: str, layout: Layout) -> Follower:
    """Return a follower by its name.

    Raises:
        UnknownFollower: no installed package offers it.
    """
    offered = [*OWN, *entry_points(group=GROUP)]
    found = {entry.name: entry for entry in offered}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise UnknownFollower(
            f"no follower is named {name!r}; installed: {known}; install the package that offers it"
        )
    follower: Follower = found[name].load()(layout.base)
    return follower
