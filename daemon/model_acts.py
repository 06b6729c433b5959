"""Acts on the model that need no worker: what is asked for, which one is due, and what has become of it.

Each goes the same way: it is asked for, the worker leaves, a process of its own does the work and publishes a
checkpoint, and the queue and the ledger follow. What is done is the act's own matter.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from trainer.protocol.status import State


class CannotAct(ValueError):
    """What is asked for cannot be done; the message is the answer."""


class ModelAct(Protocol):
    """One kind of act; one request at a time."""

    @property
    def name(self) -> Name:
        """Of the requests for it."""

    @property
    def reason(self) -> str:
        """Why the worker leaves."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet."""

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun, and is not over yet."""

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while it is at work, and how far it is; None if nothing is to be said of it."""

    def ask(self, request: Request) -> None:
        """Have it done as soon as no worker runs.

        Raises:
            CannotAct: it cannot be done.
        """

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""

    def answer_to_stop(self, how: Stopping) -> str | None:
        """Return what those who asked are told if a stop does not wait for it; None if the stop waits."""

    def catch_up(self) -> None:
        """Finish what an earlier daemon, or the process of one, has left half done."""


class ModelActs:
    """All acts, one at a time: one that has begun is finished first.

    Args:
        acts: of several that are wanted, the first of these is done first.
    """

    def __init__(self, acts: Sequence[ModelAct]) -> None:
        self._acts = acts

    def ask(self, request: Request) -> str | None:
        """Have what is asked for done as soon as no worker runs; return the answer if that cannot be."""
        [act] = [act for act in self._acts if act.name == request.name]
        try:
            act.ask(request)
        except CannotAct as error:
            return str(error)
        return None

    def due(self, stopping: Stopping | None) -> ModelAct | None:
        """Return what is to be done now, while the daemon stops or does not."""
        wanted = [
            act for act in self._acts if act.is_wanted and not (stopping and act.answer_to_stop(stopping))
        ]
        return min(wanted, key=lambda act: not act.is_at_work, default=None)

    def cut_off_by(self, how: Stopping) -> Iterator[tuple[Name, str]]:
        """Yield the answers to those who asked for what a stop does not wait for."""
        for act in self._acts:
            if act.is_wanted and (answer := act.answer_to_stop(how)):
                yield act.name, answer

    def catch_up(self) -> None:
        """Finish what an earlier daemon, or the process of one, has left half done."""
        for act in self._acts:
            act.catch_up()

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while an act is at work, and how far it is; None if there is nothing to say."""
        return next((shown for act in self._acts if (shown := act.shown)), None)
