"""The life of the model as a tree: the steps that it took, and where it went back."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.client.version_lines import VersionLine
from trainer.protocol.branch_path import path_of
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch, BranchReason, Manifest


@dataclass(frozen=True, kw_only=True)
class LifeBranch:
    """Steps that followed each other, until the model went back."""

    number: int
    """0 for the steps until it first went back."""
    from_branch: int | None
    """The branch that it left from; None for the first."""
    from_step: int
    """The step of the model's life before its first one."""
    last_step: int
    """The last step that was taken on it."""
    began_at: str | None
    """UTC, ISO 8601; None for the first branch."""
    why: BranchReason | None
    """Why the model went back to where it begins; None for the first."""
    reason: str
    led_until: int | None
    """The last step of it that led to the present model; None if none did."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """Everything that the model did, and where it is."""

    step: int
    """Of the newest checkpoint; a worker may be further."""
    branch: int
    branches: tuple[LifeBranch, ...]
    """By number."""
    versions: tuple[VersionLine, ...]
    """The newest ones, oldest first."""
    left_out: int
    """How many older versions there are."""


def life_of(layout: Layout, versions: Sequence[VersionLine], *, most_versions: int) -> Life:
    """Return what the newest checkpoint knows of the model's life; nothing where there is none."""
    try:
        newest = read_manifest((layout.models / POINTER).resolve(strict=True))
    except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
        newest = None
    return Life(
        step=newest.progress.global_step if newest else 0,
        branch=newest.branch if newest else 0,
        branches=tuple(_branches(newest)) if newest else (),
        versions=tuple(versions[-most_versions:]),
        left_out=max(0, len(versions) - most_versions),
    )


def _branches(newest: Manifest) -> list[LifeBranch]:
    """Return all branches; each ends where the model went back from to begin the next one."""
    ends = [branch.left_step for branch in newest.branches] + [newest.progress.global_step]
    return [_branch(branch, end, newest) for branch, end in zip((None, *newest.branches), ends, strict=True)]


def _branch(branch: Branch | None, last_step: int, newest: Manifest) -> LifeBranch:
    number = branch.number if branch else 0
    led_until = next((part.until for part in path_of(newest) if part.branch == number), None)
    return LifeBranch(
        number=number,
        from_branch=branch.from_branch if branch else None,
        from_step=branch.from_step if branch else 0,
        last_step=last_step,
        began_at=branch.at if branch else None,
        why=branch.why if branch else None,
        reason=branch.reason if branch else "",
        led_until=newest.progress.global_step if number == newest.branch else led_until,
    )
