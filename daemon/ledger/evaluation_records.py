"""Read the results of evaluation: validation losses, scores of suites, answers to fixed prompts."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice, takewhile
from pathlib import Path

from daemon.ledger.reader import has_table, open_read_only


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A loss on data that is not trained."""

    global_step: int
    loss: float | None
    """None where it was not finite."""
    rows: int
    weights: str = "last"
    """Whose loss it is: that of the weights after the `last` step, or of their `average`."""
    other_loss: float | None = None
    """Of the other ones; None where they were not measured."""


@dataclass(frozen=True, kw_only=True)
class RecordedScore:
    """How well a suite of questions was answered."""

    global_step: int
    suite: str
    difficulty: str | None
    """None for all rows together."""
    rows: int
    loss: float | None
    exact_match: float
    """Share of correct answers, from 0 to 1."""
    metrics: dict[str, float]
    """As the data profile measures."""


@dataclass(frozen=True, kw_only=True)
class RecordedPreview:
    """One answer to a fixed prompt."""

    global_step: int
    prompt: str
    text: str
    ended_by: str
    """end, tokens or time."""
    metrics: dict[str, float]
    """As the data profile measures."""


@dataclass(frozen=True, kw_only=True)
class PreviewHistory:
    """The newest answer to a prompt, and how it developed."""

    prompt: str
    text: str
    global_step: int
    ended_by: str
    """end, tokens or time."""
    seconds: float
    metrics: dict[str, float]
    """As the data profile measures."""
    unchanged_since: int
    """The step at which this text was first given, of those since the last other one."""
    before: str | None
    """The last other text; None if there was none."""
    before_step: int | None
    """The last step at which that was given."""


@dataclass(frozen=True, kw_only=True)
class PreviewText:
    """A text that a prompt was answered with at several steps that follow each other."""

    first_step: int
    last_step: int
    times: int
    text: str
    ended_by: str
    """end, tokens or time; of the last step."""


def read_preview_texts(path: Path, prompt: str, *, limit: int) -> list[PreviewText]:
    """Return the newest `limit` texts that a prompt was answered with, the newest first.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "previews"):
            return []
        rows: Iterator[sqlite3.Row] = database.execute(
            "SELECT * FROM previews WHERE prompt = ? ORDER BY global_step DESC", (prompt,)
        )
        same = (list(answers) for _, answers in groupby(rows, key=lambda row: row["text"]))
        return [_preview_text(answers) for answers in islice(same, limit)]


def _preview_text(answers: list[sqlite3.Row]) -> PreviewText:
    newest = answers[0]
    return PreviewText(
        first_step=answers[-1]["global_step"],
        last_step=newest["global_step"],
        times=len(answers),
        text=newest["text"],
        ended_by=newest["ended_by"],
    )


def read_validations(path: Path, *, after: int, limit: int) -> list[Validation]:
    """Return the first `limit` validations after a global step; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            "SELECT * FROM validations WHERE global_step > ? ORDER BY global_step LIMIT ?", (after, limit)
        )
        return [validation_of(row) for row in rows]


def validation_of(row: sqlite3.Row) -> Validation:
    """Return what a row of the table of validations says."""
    known = row.keys()  # a ledger that no daemon of this release has opened has no averages
    return Validation(
        global_step=row["global_step"],
        loss=row["loss"],
        rows=row["rows"],
        weights=row["weights"] if "weights" in known else "last",
        other_loss=row["other_loss"] if "other_loss" in known else None,
    )


def read_scores(path: Path, *, after: int, limit: int) -> list[RecordedScore]:
    """Return the scores of suites at the first steps after `after`; none if there is no ledger.

    Args:
        limit: scores; one suite has several at a step, one for each difficulty.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    return _scores(
        path,
        "SELECT * FROM suite_scores WHERE global_step > ? ORDER BY global_step, suite, difficulty LIMIT ?",
        (after, limit),
    )


def read_newest_scores(path: Path, *, until: int) -> list[RecordedScore]:
    """Return the newest score of each suite, for all its rows together, up to a global step.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    return _scores(
        path,
        "SELECT *, max(global_step) FROM suite_scores WHERE difficulty = '' AND global_step <= ?"
        " GROUP BY suite ORDER BY suite",
        (until,),
    )


def _scores(path: Path, query: str, values: tuple[int, ...]) -> list[RecordedScore]:
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "suite_scores"):  # of an early release
            return []
        return [_score(row) for row in database.execute(query, values)]


def _score(row: sqlite3.Row) -> RecordedScore:
    return RecordedScore(
        global_step=row["global_step"],
        suite=row["suite"],
        difficulty=row["difficulty"] or None,
        rows=row["rows"],
        loss=row["loss"],
        exact_match=row["exact_match"],
        metrics=json.loads(row["metrics"]),
    )


def read_answers(path: Path) -> list[RecordedPreview]:
    """Return all answers to the fixed prompts, oldest first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "previews"):
            return []
        return [
            RecordedPreview(
                global_step=row["global_step"],
                prompt=row["prompt"],
                text=row["text"],
                ended_by=row["ended_by"],
                metrics=json.loads(row["metrics"]),
            )
            for row in database.execute("SELECT * FROM previews ORDER BY global_step, prompt")
        ]


def read_previews(path: Path) -> list[PreviewHistory]:
    """Return the history of each prompt, the one answered last first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "previews"):
            return []
        rows: Iterator[sqlite3.Row] = database.execute(
            "SELECT * FROM previews ORDER BY prompt, global_step DESC"
        )
        found = [_history(list(answers)) for _, answers in groupby(rows, key=lambda row: row["prompt"])]
    return sorted(found, key=lambda history: -history.global_step)


def _history(answers: list[sqlite3.Row]) -> PreviewHistory:
    newest = answers[0]
    same = list(takewhile(lambda answer: answer["text"] == newest["text"], answers))
    other = answers[len(same)] if len(same) < len(answers) else None
    return PreviewHistory(
        prompt=newest["prompt"],
        text=newest["text"],
        global_step=newest["global_step"],
        ended_by=newest["ended_by"],
        seconds=newest["seconds"],
        metrics=json.loads(newest["metrics"]),
        unchanged_since=same[-1]["global_step"],
        before=other["text"] if other else None,
        before_step=other["global_step"] if other else None,
    )
