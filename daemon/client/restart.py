"""What a restart would do: which checkpoint it loads, and at which row of which file it continues."""

from dataclasses import dataclass

from daemon.checkpoints.review import BlockedRestart, Whole
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
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Progress
from trainer.protocol.text import printable

__all__ = ["CannotGoOn", "GoesOn", "ImpossibleRestart", "NoPlan", "Restart", "RestartPlan", "restart_from"]


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


def restart_from(layout: Layout, start: Whole | BlockedRestart | None) -> Restart | ImpossibleRestart:
    """Return what a restart would do that begins at `start`; None is the base model."""
    if isinstance(start, BlockedRestart):
        return ImpossibleRestart(start.reason)
    return Restart(
        checkpoint=printable(start.path.name) if start else None,
        global_step=start.manifest.progress.global_step if start else 0,
        files=_plan(layout, start.manifest.progress if start else Progress()),
    )


def _plan(layout: Layout, progress: Progress) -> RestartPlan | NoPlan:
    try:
        settings = load_settings(layout.config_file).settings
        jobs = read_jobs(layout.ledger_file, inodes=processed_inodes(layout))
        completed = read_completed(layout.ledger_file) if settings.training.replay_fraction else ()
        return plan_restart(layout, jobs, progress, settings, completed=completed)
    except (BadConfig, UnreadableLedger, OSError) as error:
        return NoPlan(printable(str(error)))
