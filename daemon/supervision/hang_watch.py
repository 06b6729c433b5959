"""Tell a stalled worker, one that hangs, from one that is busy.

Pure: what it says, signs of its process and the time come in as arguments; out comes a sentence, or nothing.
"""

from dataclasses import dataclass

from trainer.protocol.messages import Event, Heartbeat, Section

FACTOR = 5  # a wait this many times as long as the longest one seen is not an ordinary one any more
LONG_SILENCE_S = 10.0  # of a worker that sends a heartbeat each second; and of a daemon that looks as often
LOOK_CLOSER_AFTER_S = 10.0
SIGNS_INTERVAL_S = 10.0  # long enough that a short lull in the middle of work is not taken for the end of it
MIN_CORE_SHARE = 0.05
MIN_IO_BYTES = 64 * 1024

# Here a worker waits for orders, and to be there is all it has to do
RESTING: tuple[Section, ...] = ("idle", "paused", "blocked")
# Here libraries keep the interpreter to themselves for minutes, so that even heartbeats have to wait
MUTE: tuple[Section, ...] = ("loading", "saving")
ORDINARY_STATES = ("running", "sleeping", "idle", "unknown")


@dataclass(frozen=True)
class Signs:
    """What the system says about a process and its children."""

    cpu_s: float
    io_bytes: int
    state: str
    """In psutil's words: `running`, `sleeping`, `stopped`, `disk-sleep`, …"""


NO_SIGNS = Signs(cpu_s=0.0, io_bytes=0, state="unknown")  # of a process that cannot be seen


class Watch:
    """Watches one worker, from its start to its end.

    Args:
        longest_waits: seconds between two marks of progress, by section; kept up to date, and worth keeping
            for the next worker.
        hang_after_s: no wait shorter than this is called a hang.
        ceiling_s: the longest wait of one that shows signs of life.
        now: monotonic seconds, as everywhere here.
    """

    def __init__(
        self, longest_waits: dict[Section, float], *, hang_after_s: float, ceiling_s: float, now: float
    ) -> None:
        self._longest_waits = longest_waits
        self._hang_after_s = hang_after_s
        self._ceiling_s = ceiling_s
        self._section: Section = "loading"
        self._ticks = 0
        self._progressed_at = self._heard_at = self._looked_at = self._signs_at = now
        self._signs: Signs | None = None
        self._is_working: bool | None = None  # None: not known, because there is nothing to compare with

    def hear(self, event: Event, now: float) -> None:
        """Take note of something the worker said."""
        self._look(now)
        self._heard_at = now
        if not isinstance(event, Heartbeat):
            self._progress(now)  # only its working thread says anything else
            return
        is_news = (event.section, event.ticks) != (self._section, self._ticks)
        if is_news or event.section in RESTING:
            self._progress(now)
        self._section, self._ticks = event.section, event.ticks

    @property
    def section(self) -> Section:
        """What it was doing when last heard."""
        return self._section

    def wants_signs(self, now: float) -> bool:
        """Whether to inspect the process itself. In ordinary times never, so that it costs nothing."""
        self._look(now)
        if now - self._progressed_at < min(LOOK_CLOSER_AFTER_S, self._hang_after_s / 2):
            return False
        interval_s = min(SIGNS_INTERVAL_S, self._hang_after_s / 4)
        return self._signs is None or now - self._signs_at >= interval_s

    def see(self, signs: Signs, now: float) -> None:
        """Take note of what the system says about the process."""
        if self._signs is not None:
            has_computed = signs.cpu_s - self._signs.cpu_s >= MIN_CORE_SHARE * (now - self._signs_at)
            has_moved_data = signs.io_bytes - self._signs.io_bytes >= MIN_IO_BYTES
            self._is_working = has_computed or has_moved_data
        self._signs, self._signs_at = signs, now

    def hang(self, now: float) -> str | None:
        """Say how it hangs; None while it does not."""
        self._look(now)
        longest_s = self._longest_waits.get(self._section, 0.0)
        limit_s = max(FACTOR * longest_s, self._hang_after_s)
        if self._is_working and (not self._is_silent(now) or self._section in MUTE):
            limit_s = max(limit_s, self._ceiling_s)
        waited_s = now - self._progressed_at
        if waited_s <= limit_s or self._is_working is None:
            return None
        silence = f"; no heartbeat for {now - self._heard_at:.0f} s" if self._is_silent(now) else ""
        return (
            f"no progress in {self._section} for {waited_s:.0f} s "
            f"(limit {limit_s:.0f} s; longest seen {longest_s:.1f} s){silence}{self._state()}"
        )

    def _is_silent(self, now: float) -> bool:
        return now - self._heard_at > LONG_SILENCE_S

    def _state(self) -> str:
        if self._signs is None or self._signs.state in ORDINARY_STATES:
            return ""
        return f"; the process is in state: {self._signs.state.replace('-', ' ')}"

    def _look(self, now: float) -> None:
        """Leave out the time in which nobody checked.

        Both may have been stopped and continued together, as on a laptop that was closed.
        """
        gap_s = now - self._looked_at
        self._looked_at = now
        if gap_s > LONG_SILENCE_S:
            self._progressed_at += gap_s
            self._heard_at += gap_s
            self._signs = self._is_working = None

    def _progress(self, now: float) -> None:
        waited_s = now - self._progressed_at
        self._longest_waits[self._section] = max(waited_s, self._longest_waits.get(self._section, 0.0))
        self._progressed_at = now
        self._signs = self._is_working = None
