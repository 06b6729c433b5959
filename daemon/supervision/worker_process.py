"""The worker as the daemon sees it: a process, a connection, and how much time it has left.

Where the process runs, only its launcher knows.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM, SIGUSR1, Signals

from daemon.journal.events import WorkerHung
from daemon.journal.journal import Journal
from daemon.supervision.hang_watch import Watch
from daemon.supervision.launcher import FAREWELL_S, Launcher
from daemon.supervision.verdict import End, Verdict, judge
from trainer.protocol.channel import Channel, ChannelClosed, NotRead
from trainer.protocol.layout import Layout
from trainer.protocol.messages import EVENTS, Command, Event, Faulted, Leaving, ShutDown
from trainer.protocol.text import printable

TAIL_BYTES = 16384  # the stacks of all threads fit
STACKS_S = 2.0  # time to write them
SAVE_S = 10.0  # time for one that hung to save after all, if it can
SEND_TIMEOUT_S = 20.0  # a worker that reads nothing for so long must not hold up the daemon
KILL_WAIT_S = 10.0  # one that waits for a broken disk does not even die of SIGKILL
MOST_CHUNKS = 256  # read in one go, so that a talkative worker does not keep the daemon from its other work

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rung:
    """One step of the ladder by which a worker is ended: a signal that it gets if it still lives then."""

    at: float  # monotonic seconds
    signal: Signals
    why: str
    spares_a_save: bool = False  # a worker that is saving gets more time


class WorkerProcess:
    """One started worker.

    Args:
        watch: tells whether it hangs.
        journal: where that is recorded.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        launcher: Launcher,
        layout: Layout,
        watch: Watch,
        journal: Journal,
        *,
        clock: Callable[[], float],
    ) -> None:
        launched = launcher.launch(layout)
        self._process = launched.process
        self._outlives_connection_s = launched.outlives_connection_s
        self._channel: Channel[Event] = Channel(launched.endpoint, EVENTS, send_timeout_s=SEND_TIMEOUT_S)
        self._watch = watch
        self._journal = journal
        self._clock = clock
        self._unheard: list[Event] = []
        self._last_word: Faulted | Leaving | None = None
        self._is_connected = True
        self._was_dismissed = False
        self._ladder: list[Rung] = []
        self._hang: str | None = None
        self._killed_because: str | None = None
        self._was_given_up = False

    @property
    def pid(self) -> int:
        """Its number where it runs, for people to read."""
        return self._process.pid

    def memory_bytes(self) -> int | None:
        """Return the memory that it and everything it has started hold; None when that is unknown."""
        return self._process.memory_bytes()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._channel.fileno()

    @property
    def is_connected(self) -> bool:
        """Whether it may still say something."""
        return self._is_connected

    # ---- talking

    def send(self, command: Command) -> None:
        """Tell it something. A worker that is gone does not hear it, which `ended` will show."""
        if self._killed_because:
            return  # it may not have read the command before, and must not hold up the daemon once more
        self._was_dismissed |= isinstance(command, ShutDown)
        try:
            self._channel.send(command)
        except NotRead:
            self._kill(f"the worker read nothing for {SEND_TIMEOUT_S:.0f} s, so it was killed")
        except ChannelClosed:
            return

    def events(self) -> list[Event]:
        """Return what it has said since the last call."""
        self._listen()
        said, self._unheard = self._unheard, []
        return said

    def _listen(self) -> None:
        """Take in what has arrived, also the rest of a message that came in parts."""
        try:
            for _ in range(MOST_CHUNKS):
                if not (self._is_connected and self._channel.wait(0)):
                    break
                self._hear(self._channel.receive(0))
        except ChannelClosed:
            self._is_connected = False
            self._expect_end("closed its connection", self._outlives_connection_s)
        except (ValueError, RecursionError) as error:
            self._is_connected = False
            words = printable(str(error), limit=500)
            # What else it meant to say is lost, so there is no going on with it
            self._kill(f"the worker sent something that cannot be understood, so it was killed: {words}")

    def _hear(self, events: list[Event]) -> None:
        self._unheard += events
        for event in events:
            self._watch.hear(event, self._clock())
            if isinstance(event, Faulted | Leaving):
                self._last_word = event
                self._expect_end("sent its last message", FAREWELL_S)

    # ---- ending

    def dismiss_by(self, deadline: float) -> None:
        """Let it run until `deadline` (monotonic seconds); after that it is ended by force."""
        grace_s = deadline - self._clock()
        why = f"had not exited {grace_s:.0f} s after it was asked to"
        self._plan(deadline, SIGKILL, why, spares_a_save=True)

    def ended(self) -> Verdict | None:
        """Return how it ended, or None while it lives.

        Must be polled: this is also where it is watched and deadlines are kept.
        """
        self._listen()
        exit_code = self._process.poll()
        if exit_code is None:
            self._supervise(self._clock())
            return None
        self._listen()  # what it said last is still to be heard
        self._is_connected = False
        self._channel.close()
        return self._judge(exit_code)

    def kill(self) -> None:
        """End it and everything it started, now."""
        self._was_given_up = True
        self._kill("the worker was killed because the daemon no longer waits for it")
        self._process.wait(KILL_WAIT_S)

    def _supervise(self, now: float) -> None:
        if self._hang is None and self._is_connected:  # else it cannot be heard, and its time is set already
            self._look_for_hang(now)
        while self._ladder and self._ladder[0].at <= now:
            rung = self._ladder.pop(0)
            if rung.spares_a_save and self._watch.section == "saving" and not self._hang:
                self._plan(now + SAVE_S, rung.signal, rung.why, spares_a_save=True)
            elif rung.signal is SIGKILL:
                self._kill(f"the worker {rung.why}, so it was killed")
            else:
                self._process.signal(rung.signal)

    def _look_for_hang(self, now: float) -> None:
        if self._watch.wants_signs(now):
            self._watch.see(self._process.signs(), now)
        self._hang = self._watch.hang(now)
        if self._hang:
            self._journal.record(WorkerHung(problem=self._hang))
            self._plan(now, SIGUSR1, "hung")  # it writes the stacks of its threads
            self._plan(now + STACKS_S, SIGTERM, "hung")
            self._plan(now + STACKS_S + SAVE_S, SIGKILL, "hung")

    def _expect_end(self, what_it_did: str, within_s: float) -> None:
        why = f"{what_it_did} and had not ended {within_s:.0f} s later"
        self._plan(self._clock() + within_s, SIGKILL, why)

    def _plan(self, at: float, number: Signals, why: str, *, spares_a_save: bool = False) -> None:
        self._ladder.append(Rung(at, number, why, spares_a_save))
        self._ladder.sort(key=lambda rung: rung.at)

    def _kill(self, because: str) -> None:
        self._killed_because = self._killed_because or because
        self._process.signal(SIGKILL)

    def _judge(self, exit_code: int) -> Verdict:
        tail = self._process.last_words(TAIL_BYTES)
        if self._hang:
            for line in tail.splitlines():  # no event: the ledger has them with the crash
                logger.error("the worker that hung: %s", line)
        return judge(
            End(
                exit_code=exit_code,
                last_word=self._last_word,
                was_dismissed=self._was_dismissed,
                hang=self._hang,
                killed_because=self._killed_because,
                was_given_up=self._was_given_up,
                oom_kills=self._process.oom_kills(),
                was_saving=self._watch.section == "saving",
                stderr_tail=tail,
            )
        )
