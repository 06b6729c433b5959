"""What evaluation has found, in the ledger: scores of suites, and answers to fixed prompts over time."""

import json
import sqlite3
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path

from daemon.ledger.database import Database
from daemon.ledger.reader import open_read_only
from trainer.protocol.messages import PreviewMade, SuiteScored

PREVIEWS_KEPT = 5_000
SCORES_KEPT = 100_000
OVERALL = ""  # in the column of difficulties


class Evaluations:
    """The tables of the ledger that hold them. What is measured again at a step replaces what was there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_scores(self, scored: SuiteScored) -> None:
        """Note the scores of a suite."""
        scores = {OVERALL: scored.overall, **scored.by_difficulty}
        rows = [
            (
                scored.global_step, _storable(scored.suite), _storable(difficulty), score.rows, score.loss,
                score.exact_match, json.dumps(score.metrics),
            )
            for difficulty, score in scores.items()
        ]  # fmt: skip
        self._database.write("INSERT OR REPLACE INTO suite_scores VALUES (?,?,?,?,?,?,?)", *rows)

    def add_preview(self, made: PreviewMade) -> None:
        """Note an answer to a fixed prompt."""
        row = (
            made.global_step, _storable(made.prompt), _storable(made.text), made.ended_by, made.seconds,
            json.dumps(made.metrics),
        )  # fmt: skip
        self._database.write("INSERT OR REPLACE INTO previews VALUES (?,?,?,?,?,?)", row)

    def rewind(self, global_step: int) -> None:
        """Forget what was measured after a step that counts no more."""
        for table in ("suite_scores", "previews"):
            self._database.write(f"DELETE FROM {table} WHERE global_step > ?", (global_step,))

    def thin(self) -> None:
        """Drop what is too long ago."""
        for table, keep in (("suite_scores", SCORES_KEPT), ("previews", PREVIEWS_KEPT)):
            self._database.write(
                f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?", (keep,)
            )


def _storable(text: str) -> str:
    # Half characters, as a prompt in config.json may hold, cannot be stored
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True, kw_only=True)
class PreviewHistory:
    """The newest answer to a prompt, and how it came to be."""

    prompt: str
    text: str
    global_step: int
    ended_by: str
    seconds: float
    metrics: dict[str, float]
    unchanged_since: int
    """The step at which this text was first given, of those since the last other one."""
    before: str | None
    """The last other text; None if there was none."""
    before_step: int | None
    """The last step at which that was given."""


def read_previews(path: Path) -> list[PreviewHistory]:
    """Return the history of each prompt, the one answered last first; none if there is no ledger.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        known = database.execute("SELECT 1 FROM sqlite_master WHERE name='previews'").fetchone()
        if known is None:  # no daemon of this release has opened it yet
            return []
        rows = database.execute("SELECT * FROM previews ORDER BY prompt, global_step DESC").fetchall()
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
