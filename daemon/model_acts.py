"""Acts on the model that need no worker: what is asked for, which one is due, and what has become of it.

Each goes the same way: it is asked for, the worker leaves, a process of its own does the work and publishes a
checkpoint, and the queue and the ledger follow. What is done is the act's own matter.
"""

from collections.abc import Sequence
from typing import Protocol

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from trainer.protocol.status import State

STOPS = "the daemon stops; ask again once it runs"


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
    def refusal(self) -> str:
        """How an answer begins that says that it was not done."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet."""

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun, and is not over yet."""

    @property
    def is_held_by_pause(self) -> bool:
        """Whether what is left of it begins with training, which a pause holds."""

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

    def hold(self) -> None:
        """Have what trains at the moment save at the next step and leave; `advance` has it continue there."""

    def is_cut_off_by(self, how: Stopping) -> bool:
        """Whether a stop does not wait for it."""

    def withdraw(self) -> None:
        """Do not do what was asked for: those who asked have been told so."""

    def catch_up(self) -> None:
        """Finish what an earlier daemon, or the process of one, has left half done."""


class ModelActs:
    """All acts, one at a time: one that has begun is finished first.

    Args:
        acts: of several that are wanted, the first of these is done first.
    """

    def __init__(self, acts: Sequence[ModelAct]) -> None:
        self._acts = acts

    def ask(self, request: Request, *, stopping: Stopping | None) -> str | None:
        """Have what is asked for done as soon as no worker runs; return the answer if that cannot be."""
        [act] = [act for act in self._acts if act.name == request.name]
        if stopping and act.is_cut_off_by(stopping):
            return f"{act.refusal}: {STOPS}"
        try:
            act.ask(request)
        except CannotAct as error:
            return str(error)
        return None

    def refused(self, name: Name, why: str) -> str:
        """Return the answer to a request of any kind that is not carried out."""
        refusal = next((act.refusal for act in self._acts if act.name == name), None)
        return f"{refusal}: {why}" if refusal else why

    def due(self, *, stopping: Stopping | None, is_paused: bool) -> ModelAct | None:
        """Return what is to be done now.

        Args:
            stopping: how the daemon was asked to end.
            is_paused: holds what has not begun; `hold` what has.
        """
        wanted = [
            act
            for act in self._acts
            if act.is_wanted
            and not (stopping and act.is_cut_off_by(stopping))
            and (act.is_at_work or not (is_paused and act.is_held_by_pause))
        ]
        return min(wanted, key=lambda act: not act.is_at_work, default=None)

    # ---- a pause

    def hold(self) -> None:
        """Have what trains at the moment save at the next step and leave."""
        for act in self._acts:
            if act.is_at_work and act.is_held_by_pause:
                act.hold()

    @property
    def is_training(self) -> bool:
        """Whether something trains that a pause holds."""
        return any(act.is_at_work and act.is_held_by_pause for act in self._acts)

    @property
    def is_held(self) -> bool:
        """Whether something that is wanted begins with training, and does not train."""
        return any(act.is_wanted and not act.is_at_work and act.is_held_by_pause for act in self._acts)

    # ---- the end

    def cut_off_by(self, how: Stopping) -> list[tuple[Name, str]]:
        """Give up what a stop does not wait for; return the answers to those who asked for it."""
        return [self._cut_off(act) for act in self._acts if act.is_wanted and act.is_cut_off_by(how)]

    def cut_off(self) -> list[tuple[Name, str]]:
        """Give up whatever is wanted; return the answers to those who asked for it."""
        return [self._cut_off(act) for act in self._acts if act.is_wanted]

    def _cut_off(self, act: ModelAct) -> tuple[Name, str]:
        act.withdraw()
        return act.name, f"{act.refusal}: {STOPS}"

    def catch_up(self) -> None:
        """Finish what an earlier daemon, or the process of one, has left half done."""
        for act in self._acts:
            act.catch_up()

    @property
    def shown(self) -> tuple[State, str] | None:
        """The daemon's state while an act is at work, and how far it is; None if there is nothing to say."""
        return next((shown for act in self._acts if (shown := act.shown)), None)
