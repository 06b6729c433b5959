"""What the ledger knows of a version: the files that it was trained on since its parent, and its scores."""

from pathlib import Path

from daemon.ledger.evaluation_records import read_newest_scores
from daemon.ledger.trained_files import read_left_files, read_trained_files
from trainer.protocol.branch_path import beyond, path_of, shared_step
from trainer.protocol.manifest import Manifest
from trainer.versions.record import SuiteScore, TrainedFile, VersionRecord


def trained_since(
    ledger_file: Path, parent: VersionRecord | None, manifest: Manifest, *, newest: Manifest
) -> tuple[TrainedFile, ...]:
    """Return the files that a checkpoint was trained on after its parent, in the order of first steps.

    Args:
        newest: of the newest checkpoint, whose path the ledger's tables follow.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    path, after = path_of(manifest), parent.global_step if parent else 0
    shared = shared_step(path, path_of(newest))
    found = read_trained_files(ledger_file, after=after, until=shared)
    for segment in beyond(path, max(after, shared)):  # of a branch that the model has left
        found += read_left_files(ledger_file, segment)
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
        for file in found
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
