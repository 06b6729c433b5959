"""Which files wait for a verdict of the gate together, as a checkpoint has them."""

import json
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.protocol.gate import STATE_FILE
from trainer.protocol.text import printable


class WaitingFile(BaseModel):
    """A file that has no verdict yet."""

    model_config = ConfigDict(frozen=True)

    name: str
    record: object = None
    """How it ended; None while it may get further steps."""


class WaitingGroup(BaseModel):
    """Files that are judged together."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    """From before them; no other group has the same one and a file of this one."""
    members: dict[str, WaitingFile]
    """By the ids of their jobs."""


class _State(BaseModel):
    groups: tuple[WaitingGroup, ...] = ()


def waiting_groups(checkpoint: Path) -> tuple[WaitingGroup, ...]:
    """Return the groups that have no verdict yet; none if that cannot be read, as a worker takes it."""
    try:
        return _State.model_validate(json.loads((checkpoint / STATE_FILE).read_bytes())).groups
    except (OSError, ValueError, ValidationError, RecursionError):
        return ()


def left_unjudged(newest: Path, base: Path | None, *, dropped: Collection[str]) -> dict[str, str]:
    """Return which files get no verdict any more if what came after a base is trained again without the gate.

    A group stays that began before the base, as long as one of the files that it had then has not ended.

    Args:
        newest: the checkpoint that the model has.
        base: the one that is trained on; None for the base model.
        dropped: ids of jobs of which nothing is left of the base.
    Returns:
        Their names, by the ids of their jobs; printable.
    """
    waiting = {job_id: file for group in waiting_groups(newest) for job_id, file in group.members.items()}
    stays: set[str] = set()
    for group in waiting_groups(base) if base else ():
        members = group.members.keys() - set(dropped)
        if any(job_id in waiting and waiting[job_id].record is None for job_id in members):
            stays |= members
    return {job_id: printable(file.name) for job_id, file in waiting.items() if job_id not in stays}
