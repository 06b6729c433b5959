"""What the ledger knows of a version: the files that it was trained on since its parent, and its scores."""

from pathlib import Path

from daemon.ledger.evaluation_records import read_newest_scores
from daemon.ledger.trained_files import read_files_on
from trainer.protocol.branch_path import path_of
from trainer.protocol.manifest import Manifest
from trainer.versions.record import SuiteScore, TrainedFile, VersionRecord


def trained_since(
    ledger_file: Path, parent: VersionRecord | None, manifest: Manifest, *, newest: Manifest
) -> tuple[TrainedFile, ...]:
    """Return the files that a checkpoint was trained on after its parent, in the order of first steps.

    Args:
        newest: of the newest checkpoint.
    Raises:
        UnreadableLedger: it cannot be read, or has to follow first.
    """
    after = parent.global_step if parent else 0
    return tuple(
        TrainedFile(
            job_id=file.job_id,
            name=file.name,
            sha256=file.sha256,
            first_step=file.first_step,
            last_step=file.last_step,
            rows=file.rows,
            outcome=file.state,
        )
        for file in read_files_on(ledger_file, path_of(manifest), after=after, newest=newest)
    )


def newest_scores(ledger_file: Path, *, until: int) -> tuple[SuiteScore, ...]:
    """Return the newest score of each suite up to a step.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    return tuple(
        SuiteScore(
            suite=score.suite,
            global_step=score.global_step,
            rows=score.rows,
            exact_match=score.exact_match,
            loss=score.loss,
        )
        for score in read_newest_scores(ledger_file, until=until)
    )
