"""Ask for a dry run, in a process that may load torch. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.client.as_json_lines import as_json_lines
from daemon.client.helper_process import ask
from daemon.client.settings import ClientSettings
from daemon.jobs.admission import is_admitted
from daemon.jobs.replay import choose
from daemon.ledger.reader import UnreadableLedger, read_completed, recent_speed
from daemon.status.reader import read_status
from trainer.config.schema import Settings
from trainer.protocol.dry_run import DryRunOrder, Planned
from trainer.protocol.files import file_sha256
from trainer.protocol.job import EarlierFile, Outcome
from trainer.protocol.layout import Layout
from trainer.protocol.text import num_of

PLANNING = "trainer.mains.dry_run"


@dataclass(frozen=True)
class Speed:
    """How fast training will probably be."""

    tokens_per_s: float
    source: str
    """How that is known."""


@dataclass(frozen=True)
class DryRun:
    """What training a file would be like."""

    planned: Planned
    speed: Speed | None
    """None where it cannot be said."""

    @property
    def seconds(self) -> float | None:
        """How long it would take; None where that cannot be said."""
        return self.planned.tokens * self.planned.epochs / self.speed.tokens_per_s if self.speed else None


def dry_run(layout: Layout, settings: ClientSettings, file: Path, overrides: Sequence[str]) -> DryRun:
    """Return what training `file` would be like.

    Raises:
        InvalidSettings: they are invalid.
        NotATrainingFile: it is no file, or a table that cannot be converted.
        FileRefused: it would not be trained.
        HelperFailed: the process has ended without an answer.
    """
    effective = settings.effective(overrides).settings
    with as_json_lines(file, effective.data) as rows:
        order = DryRunOrder(
            base_dir=str(layout.base),
            file=str(rows.resolve()),
            settings=effective.model_dump(mode="json"),
            daemon_runs=read_status(layout).is_running,
            is_admitted=rows.is_file() and is_admitted(layout, file_sha256(rows)),
            replayed=_replayed(layout, rows, effective),
            replay_folder=str(layout.finished(Outcome.COMPLETED)),
        )
        planned = ask(PLANNING, order, Planned)
    if rows is not file:
        planned = planned.model_copy(update={"file": str(file.resolve())})
    return DryRun(planned, _speed(layout, planned))


def _replayed(layout: Layout, file: Path, settings: Settings) -> tuple[EarlierFile, ...]:
    """Choose the completed files that a daemon would have `file` replay, each by its name."""
    if not settings.training.replay_fraction or not file.is_file():
        return ()
    try:
        completed = read_completed(layout.ledger_file)
        chosen = choose(completed, layout, sha256=file_sha256(file))
    except (UnreadableLedger, OSError):
        return ()  # a damaged ledger is started anew, and a file that cannot be read is refused
    return tuple(item.file.model_copy(update={"job_id": item.name}) for item in chosen)


def _speed(layout: Layout, planned: Planned) -> Speed | None:
    try:
        # Without a checkpoint the ledger's steps, if it has any, are another model's
        if planned.checkpoint and (known := recent_speed(layout.ledger_file)):
            return Speed(known, "the speed of this model's last steps")
    except UnreadableLedger:
        pass  # training would go on without it, too
    if trial := planned.trial_steps:
        return Speed(trial.tokens_per_s, f"measured over {num_of(trial.steps, 'step')} just now")
    return None
