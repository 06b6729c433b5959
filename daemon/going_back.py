"""Let the model go back to an earlier checkpoint on request, while no worker runs."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.control.control_files import Name, Request
from daemon.decide import Stopping
from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.wishes import Requeue
from daemon.journal.events import GateStuck
from daemon.journal.journal import Journal
from daemon.model_acts import CannotAct
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import FOLDER, POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.gate import GateVerdict
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import BranchReason
from trainer.protocol.status import State
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.protocol.going_back import GoBackOrder, WentBack

NOT_DONE = "the model did not go back"
PLACES = {FOLDER: re.compile(r"step-[0-9-]+"), "versions": re.compile(r"v[0-9]{3,}")}


class NoTarget(ValueError):
    """A request names nothing that the model could go back to."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person or the gate has asked for."""

    target: str
    """Relative to `models/`, such as `versions/v003`."""
    requeue: Requeue
    reason: str
    why: BranchReason = "rollback"


class GoingBack:
    """One request at a time, of a person or of the gate.

    Args:
        before: called before the ledger is read, so that it holds every step that was taken.
        on_result: called from a thread when `advance` has something to do.
    """

    name: Final[Name] = "go_back"
    reason = "the model goes back"
    shown: tuple[State, str] | None = None  # it takes a moment

    def __init__(
        self,
        layout: Layout,
        follow: FollowBranches,
        journal: Journal,
        *,
        before: Callable[[], None],
        on_result: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._follow = follow
        self._journal = journal
        self._before = before
        self._on_result = on_result
        self._wish: Wish | None = None
        self._thread: threading.Thread | None = None
        self._result: WentBack | Exception | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody has asked for it, and has no answer yet."""
        return self._wish is not None

    @property
    def is_at_work(self) -> bool:
        """Whether a process goes back at the moment."""
        return self._thread is not None

    def ask(self, request: Request) -> None:
        """Have the model go back as soon as no worker runs.

        Raises:
            CannotAct: it does already, or there is nothing to go back to.
        """
        if self._wish is not None:
            raise CannotAct("the model goes back already; wait until it is there")
        wish = Wish(
            target=request.target or "",
            requeue=Requeue(is_wanted=request.requeue, without=request.without),
            reason=request.reason or "asked for",
        )
        try:
            target_in(self._layout.models, wish.target)
        except NoTarget as error:
            raise CannotAct(f"{NOT_DONE}: {error}") from error
        self._wish = wish

    def obey_gate(self, verdict: GateVerdict) -> bool:
        """Have the model go back to before the files that the gate refuses; return whether it can.

        Of several files nobody knows which is to blame: each is trained again, and then judged alone. What
        else was trained since is trained again, too.
        """
        to_blame = [file.job_id for file in verdict.files] if len(verdict.files) == 1 else []
        wish = Wish(
            target=f"{FOLDER}/{verdict.checkpoint}",
            requeue=Requeue(is_wanted=True, without=to_blame),
            reason=verdict.reason,
            why="gate",
        )
        try:
            target_in(self._layout.models, wish.target)
        except NoTarget as error:
            self._journal.record(GateStuck(problem=f"the model cannot go back: {error}"))
            return False
        self._wish = wish
        return True

    def answer_to_stop(self, how: Stopping) -> str | None:
        """Return None: any stop waits for it, which takes a moment."""
        return None

    def catch_up(self) -> None:
        """Have the queue and the ledger follow the newest checkpoint, which may have gone back meanwhile."""
        self._follow.follow_erased()
        try:
            manifest = read_manifest((self._layout.models / POINTER).resolve(strict=True))
        except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
            return  # there is none, or the worker reports what is wrong with it
        progress = manifest.progress
        self._follow.follow(manifest.branches, cursors=progress.cursors.keys(), finished=progress.finished)

    def advance(self) -> str | None:
        """Start it, or finish it, while no worker runs; return the answer once there is one."""
        if self._wish is None:
            return None
        if self._result is not None:
            return self._finish(self._wish, self._result)
        if self._thread is None:
            try:
                order = self._order(self._wish)
            except (NoTarget, DamagedCheckpoint, NoUsableCheckpoint) as error:  # it was there when asked for
                return self._finish(self._wish, error)
            self._thread = threading.Thread(target=self._carry_out, args=(order,), daemon=True)
            self._thread.start()
        return None

    def _order(self, wish: Wish) -> "GoBackOrder":
        from daemon.jobs.going_back import affected_files
        from trainer.protocol.going_back import GoBackOrder

        target = target_in(self._layout.models, wish.target)
        newest = read_manifest((self._layout.models / POINTER).resolve())
        self._before()
        affected = affected_files(self._layout.ledger_file, newest, read_manifest(target), wish.requeue)
        return GoBackOrder(
            base_dir=self._layout.base,
            target=target,
            why=wish.why,
            reason=wish.reason,
            jobs=tuple(file.as_fate for file in affected),
        )

    def _carry_out(self, order: "GoBackOrder") -> None:
        from trainer.protocol.going_back import MODULE, WentBack

        try:
            self._result = one_shot.ask(MODULE, order, WentBack)
        except Exception as error:  # whatever it is, somebody waits for the answer
            self._result = error
        self._on_result()

    def _finish(self, wish: Wish, result: "WentBack | Exception") -> str:
        if isinstance(result, Exception):
            answer = f"{NOT_DONE}: {printable(str(result))}"
            if wish.why == "gate":
                self._journal.record(GateStuck(problem=answer))
        else:
            self.catch_up()
            answer = result.branch.text
        self._wish = self._thread = self._result = None  # last: what fails above is tried again
        return answer


def target_in(models: Path, name: str) -> Path:
    """Return the folder of a checkpoint or a version.

    Args:
        name: relative to `models/`, such as `versions/v003`.
    Raises:
        NoTarget: there is none.
    """
    folder, _, own = name.partition("/")
    path = models / folder / own
    if folder not in PLACES or not PLACES[folder].fullmatch(own):
        raise NoTarget(f"{printable(name)} is neither a checkpoint nor a version")
    try:
        read_manifest(path)
    except (DamagedCheckpoint, NoUsableCheckpoint) as error:
        raise NoTarget(f"{printable(name)}: {error}") from error
    return path
