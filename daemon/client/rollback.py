"""Let the model go back: find where to, say what that undoes, and have it done, with or without a daemon."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from daemon.checkpoints.states import KeptState, is_earlier, kept_states
from daemon.client.advice import SOMEBODY_ACTS
from daemon.client.errors import ClientError, NoSuchFile, UnreadableHistory, raising
from daemon.client.models import without_weights
from daemon.jobs.going_back import AffectedFile, affected_files
from daemon.jobs.wishes import FORGETTING
from daemon.jobs.wishes import Requeue as Requeue  # for those who ask for it
from daemon.ledger.reader import UnreadableLedger
from daemon.ledger.trained_files import first_step_of, read_files_on, unfollowed_branches
from daemon.status.reader import read_status
from trainer.protocol import one_shot
from trainer.protocol.branch_path import path_of
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.going_back import MODULE, GoBackOrder, WentBack
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import num_of, printable, shell_word
from trainer.versions.version import Version

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
    asked_step: int | None = None
    """The one that was asked for, if no checkpoint or version is kept of it; the target is an earlier one."""


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
        if not version.has_weights:
            raise NoWayBack(without_weights(version))
        if not version.has_optimizer_state:
            raise NoWayBack(
                f"the optimizer state of {version.id} was removed, so training cannot continue from it; "
                "choose another version: training_models list"
            )
        target = KeptState(version.path, self._read(version.path))
        return self._plan(target, newest, requeue)

    def plan_steps(self, steps: int, requeue: Requeue) -> RollbackPlan:
        """Plan to go back by at least so many steps, to the newest state that is kept.

        Raises:
            NoWayBack: nothing as old is kept.
        """
        newest = self._newest()
        now = self._step_now(newest)
        if steps > now:
            raise NoWayBack(
                f"the model is at step {now:,}, so it cannot go back by {num_of(steps, 'step')}; "
                "expected fewer"
            )
        return self._plan_before(now - steps, newest, requeue)

    def plan_file(self, name: str, requeue: Requeue) -> RollbackPlan:
        """Plan to go back to the newest state that is kept from before the first step of a file.

        Raises:
            NoSuchFile: the model was not trained on it.
            NoWayBack: nothing as old is kept.
        """
        newest = self._newest()
        first = self._first_step(name.rpartition("/")[2], newest.manifest)
        if first is None:
            raise NoSuchFile(
                f"the model was not trained on {printable(name)}; expected a name such as "
                "training_queue history shows"
            )
        name = shell_word(name.rpartition("/")[2])
        return self._plan_before(first - 1, newest, requeue, file=name)

    def _plan_before(
        self, step: int, newest: KeptState, requeue: Requeue, *, file: str = "FILE"
    ) -> RollbackPlan:
        plan = self._plan(self._newest_before(step, newest, file=file), newest, requeue)
        return replace(plan, asked_step=step) if plan.target_step < step else plan

    def _plan(self, target: KeptState, newest: KeptState, requeue: Requeue) -> RollbackPlan:
        step = self._step_now(newest)
        if target.manifest.files == newest.manifest.files and step == target.step:
            place = target.path.relative_to(self._layout.models)
            raise NoWayBack(
                f"the model is at step {step:,} already, in the state of models/{place}; expected another one"
            )
        with raising(UnreadableHistory, UnreadableLedger):
            files = affected_files(self._layout.ledger_file, newest.manifest, target.manifest, requeue)
        unknown = [name for name in requeue.without if not any(_is_meant(name, file) for file in files)]
        if unknown:
            undone = ", ".join(file.name for file in files) or "none"
            raise NoSuchFile(
                f"--without is {printable(unknown[0])}, which would not be undone; expected one of the "
                f"files that would: {undone}"
            )
        return RollbackPlan(
            target=str(target.path.relative_to(self._layout.models)),
            target_step=target.step,
            current_step=step,
            files=tuple(_as_model_has(file, step) for file in files),
        )

    def _first_step(self, name: str, newest: Manifest) -> int | None:
        """Return the first step of a file in the model's life; None if the model was not trained on it."""
        ledger = self._layout.ledger_file
        with raising(UnreadableHistory, UnreadableLedger):
            if not unfollowed_branches(ledger, newest):
                return first_step_of(ledger, name)
            files = read_files_on(ledger, path_of(newest), after=0, newest=newest)
        found = [file for file in files if printable(name) in (file.name, file.job_id)]
        return max(found, key=lambda file: file.job_id).first_step if found else None

    def _step_now(self, newest: KeptState) -> int:
        """Return the step of the model: a worker may be further than the newest checkpoint."""
        status = read_status(self._layout)
        step = status.fields.get("current_step") if status.is_running else None
        return max(newest.step, step) if status.fields.get("worker_pid") and step else newest.step

    def _newest(self) -> KeptState:
        fields = read_status(self._layout).fields
        if str(fields.get("status_reason")).startswith(FORGETTING):  # what is kept will differ
            raise NoWayBack(
                f"the daemon is {fields['status_reason']}; where the model can go back to is known once that "
                "is over: training_controller status"
            )
        try:
            path = (self._layout.models / POINTER).resolve(strict=True)
        except OSError as error:
            raise NoWayBack("there is no checkpoint yet, so there is nothing to go back to") from error
        return KeptState(path, self._read(path))

    def _read(self, path: Path) -> Manifest:
        try:
            return read_manifest(path)
        except (DamagedCheckpoint, NoUsableCheckpoint) as error:
            place = path.relative_to(self._layout.models)
            raise NoWayBack(f"models/{place}: {error}; see what is whole: training_health verify") from error

    def _newest_before(self, step: int, newest: KeptState, *, file: str) -> KeptState:
        """Return the newest state up to a step that led to the present one.

        Args:
            file: as it is typed.
        """
        found = [
            state
            for state in kept_states(self._layout.models)
            if state.step <= step and state.is_whole and is_earlier(state.manifest, newest.manifest)
        ]
        if not found and step == 0:
            raise NoWayBack(
                "nothing is kept from before step 1, because the model was the base model then; to train all "
                f"but one file again from there: training_models forget {file}"
            )
        if not found:
            raise NoWayBack(
                f"nothing is kept from before step {step + 1:,}; to train what came since again without a "
                f"file: training_models forget {file}; for another time, make a version before such a file: "
                "training_models create"
            )
        return max(found, key=lambda state: (state.step, state.manifest.sequence))

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
            raise NoWayBack(SOMEBODY_ACTS) from error

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


def _as_model_has(file: AffectedFile, step: int) -> AffectedFile:
    """Return a file without the steps that only a worker that was killed had taken."""
    is_lost = file.fate in ("undone", "requeued")
    return replace(file, last_step=step) if is_lost and file.first_step <= step < file.last_step else file


def _is_meant(name: str, file: AffectedFile) -> bool:
    return printable(name.rpartition("/")[2]) in (file.name, file.job_id)
