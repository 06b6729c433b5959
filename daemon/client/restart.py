"""What a restart would do: which checkpoint it loads, and at which row of which file it continues."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from daemon.checkpoints.review import BlockedRestart, Whole
from daemon.client.starting import overrides_in_force
from daemon.health.restart_plan import (
    CannotGoOn,
    GoesOn,
    NoPlan,
    RestartPlan,
    plan_restart,
    processed_inodes,
)
from daemon.ledger.reader import UnreadableLedger, read_completed, read_jobs
from trainer.config.loader import BadConfig, load_settings
from trainer.config.lock import compare_locked
from trainer.protocol.files import UnreadableFile
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest, Progress
from trainer.protocol.permissions import read_permissions
from trainer.protocol.text import printable

__all__ = ["CannotGoOn", "GoesOn", "ImpossibleRestart", "NoPlan", "Restart", "RestartPlan", "restart_from"]


OTHER_CHECKPOINT = "restore a checkpoint from a backup, or move them all away to start from the base model"


CORRECT_CONFIG = "correct config.json; docs/CONFIGURATION.md explains it"


@dataclass(frozen=True, kw_only=True)
class Restart:
    """What a restart would do."""

    checkpoint: str | None
    """What it would continue from; None for the base model."""
    global_step: int
    files: RestartPlan | NoPlan


@dataclass(frozen=True)
class ImpossibleRestart:
    """A restart would train nothing."""

    blocked: str
    """Why."""
    advice: str
    """What to do about it."""


def restart_from(layout: Layout, start: Whole | BlockedRestart | None) -> Restart | ImpossibleRestart:
    """Return what a restart would do that begins at `start`; None is the base model."""
    if isinstance(start, BlockedRestart):
        return ImpossibleRestart(start.reason, OTHER_CHECKPOINT)
    try:
        load_settings(layout.config_file)
    except BadConfig as error:
        return ImpossibleRestart("; ".join(map(printable, str(error).splitlines())), CORRECT_CONFIG)
    if start and (refused := locked_refusal(layout, start.manifest, overrides_in_force(layout))):
        reason, _, advice = refused.partition("; ")
        return ImpossibleRestart(reason, advice)
    return Restart(
        checkpoint=printable(start.path.name) if start else None,
        global_step=start.manifest.progress.global_step if start else 0,
        files=_plan(layout, start.manifest.progress if start else Progress()),
    )


def locked_refusal(layout: Layout, newest: Manifest, overrides: Sequence[str]) -> str | None:
    """Return which setting was changed on which the checkpoints depend; None if there is none.

    Args:
        overrides: `--set` texts in force.
    """
    with suppress(BadConfig, OSError):  # which is said of the files
        settings = load_settings(layout.config_file, overrides=overrides).settings
        try:
            permissions = read_permissions(layout.models)
        except UnreadableFile as error:
            return printable(str(error))
        _, refusals = compare_locked(newest.locked, settings, permissions)
        return next((printable(str(refusal)) for refusal in refusals), None)
    return None


def _plan(layout: Layout, progress: Progress) -> RestartPlan | NoPlan:
    try:
        settings = load_settings(layout.config_file).settings
        jobs = read_jobs(layout.ledger_file, inodes=processed_inodes(layout))
        completed = read_completed(layout.ledger_file) if settings.training.replay_fraction else ()
        return plan_restart(layout, jobs, progress, settings, completed=completed)
    except (BadConfig, UnreadableLedger, OSError) as error:
        return NoPlan(printable(str(error)))
