"""Let the model go back: an earlier state is published once more, as the newest checkpoint. Knows no torch.

Nothing is rewritten or removed: the highest verified sequence number still wins, and the checkpoints of the
branch that is left stay as long as retention keeps them. A kill leaves the old newest one or the new one.
"""

from collections.abc import Callable
from pathlib import Path

from trainer.checkpoints.publishing import next_sequence, publish_staged, stage_links
from trainer.protocol.checkpoints import (
    FOLDER,
    Checkpoint,
    find_newest,
    verify,
)
from trainer.protocol.failpoints import failpoint
from trainer.protocol.going_back import GoBackOrder
from trainer.protocol.manifest import Branch, Manifest
from trainer.protocol.text import utc_text


class NotBehind(ValueError):
    """The model cannot go back to something that is not behind it."""


def go_back(models: Path, order: GoBackOrder, *, clock: Callable[[], float]) -> Checkpoint:
    """Publish the target as the newest checkpoint.

    Raises:
        DamagedCheckpoint: the target is not what its manifest says.
        NotBehind: it is no earlier state of the newest checkpoint.
        OSError: it cannot be written; checkpoints and pointer are as before.
    """
    target = verify(order.target)
    newest = find_newest(models / FOLDER).newest
    if newest is None:
        raise NotBehind("no checkpoint is whole, so there is nothing to go back from; restore a backup")
    if newest.manifest.sequence <= target.sequence:
        raise NotBehind(_why_not_behind(target, newest))
    dropped = {job.job_id for job in order.jobs if job.fate == "undone"}
    cursors = target.progress.cursors
    progress = target.progress.model_copy(
        update={"cursors": {key: cursor for key, cursor in cursors.items() if key not in dropped}}
    )
    branch = Branch(
        number=newest.manifest.branch + 1,
        from_branch=target.branch,
        from_step=target.progress.global_step,
        left_step=newest.manifest.progress.global_step,
        at=utc_text(clock()),
        why=order.why,
        reason=order.reason,
        jobs=order.jobs,
    )
    manifest = target.model_copy(
        update={
            "sequence": next_sequence(models),
            "parent": order.target.name,
            "written_at": branch.at,
            "progress": progress,
            "branches": (*newest.manifest.branches, branch),
        }
    )
    stage_links(models, order.target, manifest)
    failpoint("going_back.staged")
    return publish_staged(models, manifest)


def _why_not_behind(target: Manifest, newest: Checkpoint) -> str:
    present = newest.manifest
    if (target.files, target.progress.global_step) == (present.files, present.progress.global_step):
        return "the model is in this state already; expected an earlier one"
    return (  # what came after it turned out damaged
        f"it is newer than the newest checkpoint that is whole, {newest.path.name}; expected an earlier state"
    )
