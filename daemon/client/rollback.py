"""Let the model go back: find where to, say what that undoes, and have it done, with or without a daemon."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from daemon.client.errors import ClientError, NoSuchFile, UnreadableHistory, raising
from daemon.jobs.going_back import AffectedFile, affected_files
from daemon.jobs.wishes import Requeue as Requeue  # for those who ask for it
from daemon.ledger.reader import UnreadableLedger
from daemon.ledger.trained_files import first_step_of
from daemon.status.reader import read_status
from trainer.protocol import one_shot
from trainer.protocol.branch_path import path_of, path_to, shared_step
from trainer.protocol.checkpoints import (
    FOLDER,
    POINTER,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
)
from trainer.protocol.going_back import MODULE, GoBackOrder, WentBack
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import printable
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import Version

if TYPE_CHECKING:
    from daemon.client.requests import Requests

WAIT_S = 3600.0  # for a step to end, a save, and the check of the target


class NoWayBack(ClientError):
    """The model cannot go back to what was asked for."""


@dataclass(frozen=True, kw_only=True)
class RollbackPlan:
    """What going back means."""

    target: str
    """Relative to `models/`: a checkpoint, or a version."""
    target_step: int
    """Of the model's life."""
    current_step: int
    files: tuple[AffectedFile, ...]
    """Those that lose or regain steps."""


@dataclass(frozen=True)
class _Place:
    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        return self.manifest.progress.global_step


class Rollbacks:
    """Plans and carries out the way back in one working directory."""

    def __init__(self, layout: Layout, requests: "Requests") -> None:
        self._layout = layout
        self._requests = requests

    # ---- plan

    def plan_to(self, version: Version, requeue: Requeue) -> RollbackPlan:
        """Plan to go back to a version.

        Raises:
            NoWayBack: it has no optimizer state any more, or the model is there.
        """
        newest = self._newest()
        if not version.has_optimizer_state:
            raise NoWayBack(
                f"the optimizer state of {version.id} was removed, so training cannot continue from it; "
                "choose another version: training_models list"
            )
        target = _Place(version.path, self._read(version.path))
        return self._plan(target, newest, requeue)

    def plan_steps(self, steps: int, requeue: Requeue) -> RollbackPlan:
        """Plan to go back by at least so many steps, to the newest state that is kept.

        Raises:
            NoWayBack: nothing as old is kept.
        """
        newest = self._newest()
        return self._plan(self._newest_before(newest.step - steps, newest), newest, requeue)

    def plan_file(self, name: str, requeue: Requeue) -> RollbackPlan:
        """Plan to go back to the newest state that is kept from before the first step of a file.

        Raises:
            NoSuchFile: the model was not trained on it.
            NoWayBack: nothing as old is kept.
        """
        newest = self._newest()
        with raising(UnreadableHistory, UnreadableLedger):
            first = first_step_of(self._layout.ledger_file, name.rpartition("/")[2])
        if first is None:
            raise NoSuchFile(
                f"the model was not trained on {printable(name)}; expected a name such as "
                "training_queue history shows"
            )
        return self._plan(self._newest_before(first - 1, newest), newest, requeue)

    def _plan(self, target: _Place, newest: _Place, requeue: Requeue) -> RollbackPlan:
        if target.manifest.sequence == newest.manifest.sequence:
            raise NoWayBack(f"the model is at step {newest.step:,} already; expected an earlier state")
        with raising(UnreadableHistory, UnreadableLedger):
            files = affected_files(self._layout.ledger_file, newest.manifest, target.manifest, requeue)
        return RollbackPlan(
            target=str(target.path.relative_to(self._layout.models)),
            target_step=target.step,
            current_step=newest.step,
            files=tuple(files),
        )

    def _newest(self) -> _Place:
        try:
            path = (self._layout.models / POINTER).resolve(strict=True)
        except OSError as error:
            raise NoWayBack("there is no checkpoint yet, so there is nothing to go back to") from error
        return _Place(path, self._read(path))

    def _read(self, path: Path) -> Manifest:
        with raising(NoWayBack, DamagedCheckpoint, NoUsableCheckpoint):
            return read_manifest(path)

    def _newest_before(self, step: int, newest: _Place) -> _Place:
        """Return the newest state up to a step that led to the present one."""
        found = [
            place
            for place in self._places()
            if place.step <= step and is_ancestor(place.manifest, newest.manifest)
        ]
        if not found:
            oldest = min((place.step for place in self._places()), default=newest.step)
            raise NoWayBack(
                f"nothing is kept from before step {step + 1:,} (the oldest checkpoint or version is of step "
                f"{oldest:,}); keep more with checkpoints.keep_last, or make versions: training_models create"
            )
        return max(found, key=lambda place: (place.step, place.manifest.sequence))

    def _places(self) -> Iterator[_Place]:
        versions = sorted((self._layout.models / VERSIONS).glob("v*"))
        for path in (*published(self._layout.models / FOLDER), *versions):
            try:
                manifest = read_manifest(path)
            except (DamagedCheckpoint, NoUsableCheckpoint):
                continue
            if all((path / name).is_file() for name in manifest.files):
                yield _Place(path, manifest)

    # ---- carry out

    def carry_out(self, plan: RollbackPlan, *, reason: str, requeue: Requeue) -> str:
        """Have the model go back; return what was done in words.

        Raises:
            NoWayBack: it did not.
        """
        if read_status(self._layout).is_running:
            request = {
                "target": plan.target,
                "reason": reason,
                "requeue": requeue.is_wanted,
                "without": list(requeue.without),
            }
            result = self._requests.send(".go_back", request, wait_s=WAIT_S).result
            if not result.startswith("the model went from"):
                raise NoWayBack(result)
            return result
        try:
            with FileLock(self._layout.lock_file, blocking=False):
                return self._without_daemon(plan, reason)
        except Timeout as error:
            raise NoWayBack("a daemon is just starting here; try again") from error

    def _without_daemon(self, plan: RollbackPlan, reason: str) -> str:
        order = GoBackOrder(
            base_dir=self._layout.base,
            target=self._layout.models / plan.target,
            why="rollback",
            reason=reason,
            jobs=tuple(file.as_fate for file in plan.files),
        )
        with raising(NoWayBack, OrderRefused, NoAnswer):
            branch = one_shot.ask(MODULE, order, WentBack).branch
        return f"{branch.text}; the queue follows when a daemon starts"


def is_ancestor(earlier: Manifest, later: Manifest) -> bool:
    """Whether the steps of one checkpoint are the first steps of another."""
    step = earlier.progress.global_step
    there = path_to(earlier.branch, step, later.branches)
    return shared_step(there, path_of(later)) == step
