"""Ask a process that may load torch what training a file would be like. Changes nothing."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.client.errors import FileRefused, HelperFailed
from daemon.client.settings import ClientSettings
from daemon.jobs.replay import choose
from daemon.ledger.reader import UnreadableLedger, read_completed, recent_speed
from daemon.status.reader import read_status
from daemon.supervision.launcher import worker_environment
from trainer.config.schema import Settings
from trainer.protocol.dry_run import ANSWERS, Answer, DryRunOrder, Planned, Refused
from trainer.protocol.files import file_sha256
from trainer.protocol.job import EarlierFile, Outcome
from trainer.protocol.layout import Layout

COMMAND = [sys.executable, "-P", "-m", "trainer.mains.dry_run"]
LAST_WORDS = 2_000  # characters of a process that ended without an answer


@dataclass(frozen=True)
class Speed:
    """How fast training will probably be."""

    tokens_per_s: float
    source: str
    """Where that is known from."""


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
        FileRefused: it would not be trained.
        HelperFailed: the process has ended without an answer.
    """
    effective = settings.effective(overrides).settings
    answer = _ask(
        DryRunOrder(
            base_dir=str(layout.base),
            file=str(file.resolve()),
            settings=effective.model_dump(mode="json"),
            daemon_runs=read_status(layout).is_running,
            replayed=_replayed(layout, file, effective),
            replay_folder=str(layout.finished(Outcome.COMPLETED)),
        )
    )
    if isinstance(answer, Refused):
        raise FileRefused(answer.message, is_bad_config=answer.is_bad_config)
    return DryRun(answer, _speed(layout, answer))


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


def _ask(order: DryRunOrder) -> Answer:
    text = json.dumps(order.model_dump(mode="json"))  # in ASCII: names of files need not be UTF-8
    result = subprocess.run(COMMAND, input=text.encode(), capture_output=True, env=worker_environment())
    if result.stdout:
        return ANSWERS.validate_json(result.stdout)
    if result.returncode == -signal.SIGKILL:
        raise HelperFailed("the dry run was killed, probably for its memory; stop what else runs here")
    last_words = result.stderr.decode(errors="replace")[-LAST_WORDS:]
    raise HelperFailed(f"the dry run ended with code {result.returncode}: {last_words.strip()}")


def _speed(layout: Layout, planned: Planned) -> Speed | None:
    try:
        # Without a checkpoint the ledger's steps, if it has any, are another model's
        if planned.checkpoint and (known := recent_speed(layout.ledger_file)):
            return Speed(known, "as in the last steps of this model")
    except UnreadableLedger:
        pass  # training would go on without it, too
    if planned.rehearsal:
        return Speed(planned.rehearsal.tokens_per_s, f"measured in {planned.rehearsal.steps} steps just now")
    return None
