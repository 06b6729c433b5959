"""Have versions made by policy (`versions.auto`): after a file, a day, or a file that has passed the gate.

What a policy waits for are events. That of the newest version says until when they are covered, so a daemon
that starts later makes up for what an earlier one left. The version itself is made by a process of its own.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from daemon.journal.events import (
    CheckpointSaved,
    GatePassed,
    JobFinished,
    JournalEvent,
    VersionMade,
    VersionNotMade,
)
from daemon.journal.journal import Journal, Subscriber
from daemon.ledger.reader import UnreadableLedger
from daemon.ledger.version_events import Occurrences, is_recorded, newest_order, occurrences
from daemon.outcomes import outcome_of
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import POINTER
from trainer.protocol.job import Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text

if TYPE_CHECKING:
    from trainer.config.version_settings import Policy, VersionSettings
    from trainer.protocol.new_version import NewVersion, NewVersionOrder


PASSED = "passed"
"""The verdict of the gate that a version waits for. The file is completed once a checkpoint has it."""
KINDS = {"file": "finished", "day": "checkpoint", "gate": "finished"}
"""Policy -> the kind of the events that it waits for; `gate` only for those after one of the gate."""
RETRY_AFTER_S = 600.0


class Milestones(Subscriber):
    """Takes note of what a policy waits for. It hears of every event, so it does next to nothing."""

    def __init__(self) -> None:
        self._found = dict.fromkeys(KINDS, Occurrences())
        self.has_passed = False
        """Whether a file has passed the gate that is not completed, so no checkpoint is known to have it."""

    def on_event(self, event: JournalEvent, at: str) -> None:
        if isinstance(event, JobFinished):
            if event.outcome == Outcome.COMPLETED:
                self.note("file", Occurrences(at, at))
                if self.has_passed:
                    self.note("gate", Occurrences(at, at))
                    self.has_passed = False
        elif isinstance(event, CheckpointSaved):
            self.note("day", Occurrences(at, at))
        elif isinstance(event, GatePassed) and event.outcome == PASSED:  # not admitted, nor left unjudged
            self.has_passed = True

    def note(self, policy: str, later: Occurrences) -> None:
        """Add what happened to what is known."""
        known = self._found[policy]
        times = [at for at in (known.first_at, known.newest_at, later.first_at, later.newest_at) if at]
        if times:
            self._found[policy] = Occurrences(min(times), max(times))

    def first_at(self, policy: str) -> str | None:
        """Return when what a policy waits for first happened since its newest version; None if not at all."""
        return self._found[policy].first_at

    def cover(self, policy: str, until: str) -> None:
        """Forget what happened until a time."""
        newest = self._found[policy].newest_at
        is_later = newest is not None and newest > until
        self._found[policy] = Occurrences(newest, newest) if is_later else Occurrences()


def is_due(policy: "Policy", first_at: str | None, *, now: float) -> bool:
    """Whether a version is to be made.

    Args:
        first_at: when what the policy waits for first happened since its newest version.
        now: Unix seconds.
    """
    if policy == "never" or first_at is None:
        return False
    return policy != "day" or first_at < utc_text(midnight_before(now))


def midnight_before(unix_s: float) -> float:
    """Return when the day began, by the machine's clock, that a time belongs to; Unix seconds."""
    return datetime.fromtimestamp(unix_s).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def midnight_after(unix_s: float) -> float:
    """Return when that day ends."""
    midnight = datetime.fromtimestamp(midnight_before(unix_s))
    return (midnight + timedelta(days=1)).timestamp()  # not 24 hours on the days when the clocks change


class AutoVersions:
    """At most one version at a time.

    Args:
        on_result: called from a thread when `look_after` has something to do.
        clock: Unix seconds.
    """

    def __init__(
        self,
        layout: Layout,
        journal: Journal,
        milestones: Milestones,
        *,
        on_result: Callable[[], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._milestones = milestones
        self._on_result = on_result
        self._clock = clock
        self._monotonic = monotonic
        self._policy: Policy = "never"
        self._not_before = float("-inf")
        self._running: tuple[Policy, str] | None = None
        self._result: NewVersion | Exception | None = None

    def look_after(self, settings: "VersionSettings") -> None:
        """Start what is due, and note what is done."""
        if self._result is not None:
            self._finish(self._result)
        if settings.auto != self._policy:
            self._follow(settings.auto)
        if self._is_due and self._running is None and self._monotonic() >= self._not_before:
            self._start()

    @property
    def is_busy(self) -> bool:
        """Whether a version is being made, or is about to be."""
        return self._running is not None or (self._is_due and self._monotonic() >= self._not_before)

    def due_at(self) -> float:
        """Return when `look_after` is to be called next, in monotonic seconds."""
        if self._running or self._first_at is None:
            return float("inf")
        now = self._clock()
        until_due = 0.0 if self._is_due else midnight_after(now) - now
        return max(self._monotonic() + until_due, self._not_before)

    @property
    def _is_due(self) -> bool:
        return is_due(self._policy, self._first_at, now=self._clock())

    @property
    def _first_at(self) -> str | None:
        return None if self._policy == "never" else self._milestones.first_at(self._policy)

    def _follow(self, policy: "Policy") -> None:
        """Take over a policy, with what has happened since its newest version.

        A ledger that cannot be read is the ledger's own trouble: then only what comes from now on counts.
        """
        self._policy, self._not_before = policy, float("-inf")
        if policy == "never":
            return
        ledger = self._layout.ledger_file
        with suppress(UnreadableLedger):
            covered = _covered(policy, newest_order(ledger, policy) or "")
            self._milestones.cover(policy, covered)
            if policy == "gate":
                passed = occurrences(ledger, GatePassed.kind, after=covered, outcome=PASSED)
                if passed.first_at is None:
                    return
                covered = passed.first_at
            outcome = None if policy == "day" else Outcome.COMPLETED.value
            found = occurrences(ledger, KINDS[policy], after=covered, outcome=outcome)
            self._milestones.note(policy, found)
            self._milestones.has_passed = policy == "gate" and found.first_at is None

    # ---- one version

    def _start(self) -> None:
        ordered_at = utc_text(self._clock())
        try:
            what = self._what()
        except OSError as error:
            self._fail(error)
            return
        from trainer.protocol.new_version import NewVersionOrder

        order = NewVersionOrder(base_dir=self._layout.base, policy=self._policy, **what)
        thread = threading.Thread(target=self._carry_out, args=(order,), daemon=True)
        thread.start()  # first: without a thread there would never be a result
        self._running = (self._policy, ordered_at)

    def _what(self) -> dict[str, str]:
        """Return what says which checkpoint a version is made of; reading them all is not for a daemon.

        Raises:
            OSError: there is none.
        """
        if self._policy == "day":
            return {"written_before": utc_text(midnight_before(self._clock()))}
        return {"checkpoint": (self._layout.models / POINTER).readlink().name}

    def _carry_out(self, order: "NewVersionOrder") -> None:
        def make() -> "NewVersion":
            from trainer.protocol.new_version import MODULE, NewVersion

            return one_shot.ask(MODULE, order, NewVersion)

        self._result = outcome_of(make, failure="a version could not be made")
        self._on_result()

    def _finish(self, result: "NewVersion | Exception") -> None:
        assert self._running
        policy, ordered_at = self._running
        self._running = self._result = None
        if isinstance(result, Exception):
            self._fail(result)
            return
        self._milestones.cover(policy, _covered(policy, ordered_at))
        if result.made_by == policy and not self._is_recorded(result.id):
            self._journal.record(
                VersionMade(
                    version=result.id,
                    made_by=result.made_by,
                    global_step=result.global_step,
                    ordered_at=ordered_at,
                )
            )

    def _is_recorded(self, version: str) -> bool:
        with suppress(UnreadableLedger):
            return is_recorded(self._layout.ledger_file, version)
        return False

    def _fail(self, error: Exception) -> None:
        self._not_before = self._monotonic() + RETRY_AFTER_S
        self._journal.record(VersionNotMade(problem=printable(str(error)), retry_in_s=RETRY_AFTER_S))


def _covered(policy: str, ordered_at: str) -> str:
    """Return until when a version covers what its policy waits for: that of a day, the days before."""
    if policy != "day" or not ordered_at:
        return ordered_at
    return utc_text(midnight_before(datetime.fromisoformat(ordered_at).timestamp()))
