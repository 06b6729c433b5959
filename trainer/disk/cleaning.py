"""Free space: plan what goes, and remove it, one act after the other. A kill leaves each old or gone.

models/.cleaning.lock     held by whoever frees space
queue/.removing/          cleared files on their way out; worth nothing

Folders are renamed out of sight before they are removed. Checkpoints are removed only under the lock of the
models folder: where a worker holds it, they are left.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.checkpoints.bases import FOLDER as BASES
from trainer.checkpoints.publishing import removable, remove_unused, trash_of
from trainer.disk.candidates import FEWEST, Candidate, find, shown
from trainer.disk.links import device_of
from trainer.disk.open_files import is_open, is_open_below
from trainer.disk.plan import choose
from trainer.disk.protection import UnknownNeed, needed_bases, protected_checkpoints
from trainer.protocol.backups import DRILL_SCRATCH
from trainer.protocol.checkpoints import NoUsableCheckpoint
from trainer.protocol.disk import Act, CleaningPlan, CleanOrder, Left
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import sync_directory
from trainer.protocol.layout import Layout
from trainer.protocol.locks import locked_if_free
from trainer.versions.record import DamagedVersion
from trainer.versions.registry import FOLDER as VERSIONS
from trainer.versions.registry import NoSuchVersion, Versions
from trainer.versions.removal import REMOVING, bytes_of_its_own
from trainer.versions.version import VersionInUse

LOCK = ".cleaning.lock"  # in models/
HELD_BY_WORKER = (
    "is left to the worker that runs: set checkpoints.keep_last to 2, or stop the daemon and try again"
)
FREES_NOTHING = "would free nothing, because what stays shares its files"
BESIDE_WORKER = "is left because a worker runs: stop the daemon and try again"


class CleanedElsewhere(RuntimeError):
    """Another process frees space here."""


class NotRemoved(RuntimeError):
    """Something has to stay after all; the message says why."""


def clean(layout: Layout, order: CleanOrder, *, clock: Callable[[], float]) -> CleaningPlan:
    """Plan what is removed; with `order.carry_out`, remove it, too.

    Args:
        clock: Unix seconds.
    Raises:
        CleanedElsewhere: another process frees space here.
        NoUsableCheckpoint: another release wrote a checkpoint.
        OSError: the folders cannot be read.
    """
    if not order.carry_out:
        return _planned(layout, order, clock())[0]
    with _lock_of(layout):
        plan, candidates = _planned(layout, order, clock())
        cleaner = _Cleaner(layout, order, Versions(layout.models, clock=clock))
        for act in plan.acts:
            if order.only is None or act.path in order.only:
                cleaner.carry_out(act, candidates[act.kind, act.path])
    return CleaningPlan(
        acts=tuple(cleaner.done),
        left=(*plan.left, *cleaner.left),
        free_bytes=_free_bytes(layout),
        wanted_bytes=order.wanted_bytes,
        is_done=True,
        is_for_worker=cleaner.is_for_worker,
    )


def _planned(
    layout: Layout, order: CleanOrder, now: float
) -> tuple[CleaningPlan, dict[tuple[str, str], Candidate]]:
    found = find(layout, order, now=now)
    candidates, left = list(found.candidates), list(found.left)
    if not order.worker_obeys and _worker_runs(layout):
        held = [item for item in candidates if item.kind == "checkpoint"]
        candidates = [item for item in candidates if item.kind != "checkpoint"]
        left += [Left(path=shown(layout, item.path), why=HELD_BY_WORKER) for item in held]
    if any(item.kind == "base_model" for item in candidates) and _worker_runs(layout):
        bases = [item for item in candidates if item.kind == "base_model"]
        candidates = [item for item in candidates if item.kind != "base_model"]
        left += [Left(path=shown(layout, item.path), why=BESIDE_WORKER) for item in bases]
    free = _free_bytes(layout)
    chosen = partial(
        choose, candidates, device=device_of(layout.models), name_of=lambda path: shown(layout, path)
    )
    acts = chosen(
        lacking_bytes=None if order.wanted_bytes is None else order.wanted_bytes - free,
        least_bytes=order.enough_bytes - free,
    )
    of_use = {act.path for act in chosen(lacking_bytes=None, least_bytes=0)}
    names = [shown(layout, item.path) for item in candidates]
    left += [Left(path=name, why=FREES_NOTHING) for name in names if name not in of_use]
    plan = CleaningPlan(
        acts=tuple(acts),
        left=tuple(left),
        free_bytes=free,
        wanted_bytes=order.wanted_bytes,
        is_done=False,
    )
    return plan, {(item.kind, shown(layout, item.path)): item for item in candidates}


@dataclass
class _Cleaner:
    """Carries out acts; what has changed since they were planned stays."""

    layout: Layout
    order: CleanOrder
    versions: Versions
    done: list[Act] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    is_for_worker: bool = False
    """Only the worker that runs can remove some checkpoints."""
    _whole: set[str] = field(default_factory=set)  # names of checkpoints that were verified

    def carry_out(self, act: Act, candidate: Candidate) -> None:
        if act.after is not None and act.after not in {item.path for item in self.done}:
            self.left.append(Left(path=act.path, why=f"would free nothing, because {act.after} is there"))
            return
        try:
            freed = self._remove(candidate)
        except (NotRemoved, NoSuchVersion, VersionInUse, DamagedVersion, OSError) as error:
            self.left.append(Left(path=act.path, why=str(error)))
        else:
            self.done.append(act.model_copy(update={"frees_bytes": freed}))

    def _remove(self, candidate: Candidate) -> int:
        path = candidate.path
        match candidate.kind:
            case "leftover":
                return self._remove_leftover(path)
            case "version_trash":
                return self.versions.free(path.name)
            case "queue_trash":
                return self._remove_cleared(path)
            case "token_cache":
                return _remove_cache(path)
            case "base_model":
                return self._remove_base(path)
            case "optimizer_state":
                return self.versions.free_state(path.name)
            case "checkpoint":
                return self._remove_checkpoint(path)

    def _remove_leftover(self, path: Path) -> int:
        if path.parent == self.layout.models / VERSIONS:
            return self.versions.remove_leftovers()
        if path.parent == self.layout.queue or path.name.startswith(DRILL_SCRATCH):
            return _remove_tree(path)
        with locked_if_free(self.layout.worker_lock_file) as is_free:
            if not is_free:
                raise NotRemoved("is removed by the worker that runs")
            return _remove_tree(path)

    def _remove_cleared(self, path: Path) -> int:
        removing = _removing(self.layout)
        removing.mkdir(mode=0o700, exist_ok=True)
        os.rename(path, removing / path.name)
        failpoint("cleaning.renamed")
        sync_directory(path.parent)
        return _remove_tree(removing / path.name)

    def _remove_base(self, path: Path) -> int:
        with locked_if_free(self.layout.worker_lock_file) as is_free:
            if not is_free:  # perhaps it has just made this one, and no checkpoint names it yet
                raise NotRemoved(BESIDE_WORKER)
            with self.versions.unchanging():  # one that is just being deleted is in neither place
                try:
                    why = needed_bases(self.layout.models).get(f"{BASES}/{path.name}")
                except UnknownNeed as error:
                    why = str(error)
                if why or is_open_below(path):
                    raise NotRemoved(why or "is used by a program")
                os.rename(path, trash_of(path))
            failpoint("cleaning.base_renamed")
            sync_directory(path.parent)
            return _remove_tree(trash_of(path))

    def _remove_checkpoint(self, path: Path) -> int:
        with locked_if_free(self.layout.worker_lock_file) as is_free:
            if not is_free:
                self.is_for_worker = True
                raise NotRemoved(HELD_BY_WORKER)
            return self._remove_own(path)

    def _remove_own(self, path: Path) -> int:
        # Asked again each time, and the newest ones are read this time: only whole ones are relied on
        if path.name not in removable(self.layout.models, FEWEST, verified=self._whole):
            raise NotRemoved("is needed now: fewer of the others are whole than were counted on")
        if why := protected_checkpoints(self.layout.models, self.order.spine).get(path.name):
            raise NotRemoved(why)  # a worker may have come and gone since the plan was made
        if not remove_unused(path):
            raise NotRemoved("is used by a program")
        sync_directory(path.parent)
        return _remove_tree(trash_of(path))


def _remove_tree(path: Path) -> int:
    freed = bytes_of_its_own(path)
    shutil.rmtree(path)
    failpoint("cleaning.removed")
    return freed


def _remove_cache(path: Path) -> int:
    if is_open(path):
        raise NotRemoved("is in use by the worker")
    found = path.stat()
    path.unlink()
    failpoint("cleaning.removed")
    return found.st_blocks * 512 if found.st_nlink == 1 else 0


def _removing(layout: Layout) -> Path:
    return layout.queue / REMOVING


def _worker_runs(layout: Layout) -> bool:
    with locked_if_free(layout.worker_lock_file) as is_free:
        return not is_free


def _free_bytes(layout: Layout) -> int:
    disk = os.statvfs(layout.models)
    return disk.f_bavail * disk.f_frsize


@contextmanager
def _lock_of(layout: Layout) -> Iterator[None]:
    try:
        with FileLock(layout.models / LOCK, blocking=False):
            yield
    except Timeout as error:
        raise CleanedElsewhere(
            f"another process frees space in {layout.base} already; wait until it is done"
        ) from error


REFUSALS = (CleanedElsewhere, NoUsableCheckpoint)
"""Why nothing is planned or removed at all."""
