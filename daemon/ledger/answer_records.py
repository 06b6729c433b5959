"""Read how answers have changed: to each question of a suite, and to each fixed prompt."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from daemon.ledger.reader import has_table, open_read_only


@dataclass(frozen=True, kw_only=True)
class AnswerStretch:
    """An answer that was the same at one evaluation after the other."""

    first_step: int
    last_step: int
    """Of the model's life, as the first one."""
    text: str
    is_right: bool
    times: int
    """At how many evaluations."""


@dataclass(frozen=True, kw_only=True)
class QuestionHistory:
    """A question of a suite, and how the model has answered it."""

    id: int
    suite: str
    prompt: str
    expected: str
    difficulty: str | None
    answers: tuple[AnswerStretch, ...]
    """Oldest first."""


@dataclass(frozen=True, kw_only=True)
class PreviewAnswer:
    """An answer to a fixed prompt."""

    global_step: int
    text: str
    ended_by: str
    """end, tokens or time."""
    seconds: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class PromptHistory:
    """A fixed prompt, and how the model has answered it."""

    prompt: str
    answers: tuple[PreviewAnswer, ...]
    """Oldest first."""


def read_questions(
    path: Path, *, suite: str | None = None, after: int = 0, limit: int
) -> list[QuestionHistory]:
    """Return the first `limit` questions after the one numbered `after`; none if there is no ledger.

    Those that nothing is known of any more are left out.

    Args:
        suite: only questions of this one.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "suite_answers"):  # of an early release
            return []
        questions = database.execute(
            "SELECT * FROM suite_questions WHERE id > :after AND (:suite IS NULL OR suite = :suite)"
            " AND EXISTS (SELECT 1 FROM suite_answers WHERE question = suite_questions.id)"
            " ORDER BY id LIMIT :limit",
            {"after": after, "suite": suite, "limit": limit},
        ).fetchall()
        return [_question(row, _answers_to(database, row["id"])) for row in questions]


def read_prompts(path: Path, *, most_answers: int) -> list[PromptHistory]:
    """Return each fixed prompt with its newest answers, by the prompts; none if there is no ledger.

    Args:
        most_answers: of each prompt.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "previews"):
            return []
        rows: Iterator[sqlite3.Row] = database.execute(
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY prompt ORDER BY global_step DESC) AS n"
            " FROM previews) WHERE n <= ? ORDER BY prompt, global_step",
            (most_answers,),
        )
        return [
            PromptHistory(prompt=prompt, answers=tuple(map(_preview, answers)))
            for prompt, answers in groupby(rows, key=lambda row: str(row["prompt"]))
        ]


def _answers_to(database: sqlite3.Connection, question: int) -> tuple[AnswerStretch, ...]:
    rows: Iterable[sqlite3.Row] = database.execute(
        "SELECT * FROM suite_answers WHERE question = ? ORDER BY global_step", (question,)
    )
    stretches = []
    for (text, is_right), same in groupby(rows, key=lambda row: (str(row["text"]), bool(row["is_right"]))):
        steps = [row["global_step"] for row in same]
        stretches.append(
            AnswerStretch(
                first_step=steps[0], last_step=steps[-1], text=text, is_right=is_right, times=len(steps)
            )
        )
    return tuple(stretches)


def _question(row: sqlite3.Row, answers: tuple[AnswerStretch, ...]) -> QuestionHistory:
    return QuestionHistory(
        id=row["id"],
        suite=row["suite"],
        prompt=row["prompt"],
        expected=row["expected"],
        difficulty=row["difficulty"] or None,
        answers=answers,
    )


def _preview(row: sqlite3.Row) -> PreviewAnswer:
    return PreviewAnswer(
        global_step=row["global_step"],
        text=row["text"],
        ended_by=row["ended_by"],
        seconds=row["seconds"],
        metrics=json.loads(row["metrics"]),
    )
