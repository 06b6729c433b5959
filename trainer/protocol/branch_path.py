"""Which steps of which branches led to a state of the model. Pure.

branch 0   1 2 3 4 5 6
branch 1         ^ 4 5 6 7      went back to step 3
branch 2             ^ 6 7      went back to step 5 of branch 1: the path is 0: 1-3, 1: 4-5, 2: 6-7
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trainer.protocol.manifest import Branch, Manifest


@dataclass(frozen=True)
class Segment:
    """Steps of one branch that followed each other."""

    branch: int
    after: int
    """The global step before the first of them."""
    until: int
    """The last of them."""


def path_to(branch: int, step: int, branches: Sequence[Branch]) -> list[Segment]:
    """Return what led to a step of a branch, oldest first.

    Args:
        branches: all of the model's life, or at least those on the way.
    """
    by_number = {item.number: item for item in branches}
    path: list[Segment] = []
    while branch:
        began = by_number[branch]
        path.append(Segment(branch, began.from_step, step))
        step, branch = min(step, began.from_step), began.from_branch
    path.append(Segment(0, 0, step))
    return [segment for segment in reversed(path) if segment.until > segment.after]


def path_of(manifest: Manifest) -> list[Segment]:
    """Return what led to a checkpoint, oldest first."""
    return path_to(manifest.branch, manifest.progress.global_step, manifest.branches)


def first_seen(manifest: Manifest, seen: Collection[tuple[int, int]]) -> int | None:
    """Return the first step on the way to a state at which something was seen; None if it never was.

    Args:
        seen: the branches, and the steps there, at which it was.
    """
    found = [
        step
        for segment in path_of(manifest)
        for branch, step in seen
        if segment.branch == branch and segment.after < step <= segment.until
    ]
    return min(found, default=None)


def shared_step(one: Sequence[Segment], other: Sequence[Segment]) -> int:
    """Return the last step that two paths have in common; 0 if there is none."""
    shared = 0
    for ours, theirs in zip(one, other, strict=False):
        if (ours.branch, ours.after) != (theirs.branch, theirs.after):
            break
        shared = min(ours.until, theirs.until)
        if ours.until != theirs.until:
            break
    return shared


def beyond(path: Sequence[Segment], step: int) -> list[Segment]:
    """Return what of a path comes after a step."""
    return [
        Segment(segment.branch, max(segment.after, step), segment.until)
        for segment in path
        if segment.until > step
    ]


def is_on(path: Sequence[Segment], branch: int, step: int) -> bool:
    """Whether a state, the one after a step of a branch, lies on a path."""
    return any(segment.branch == branch and segment.after <= step <= segment.until for segment in path) or (
        step == 0
    )
