"""Write the results of evaluation to the ledger: scores of suites, and answers to fixed prompts."""

import json

from daemon.ledger.database import Database
from trainer.protocol.messages import PreviewMade, SuiteAnswer, SuiteScored

PREVIEWS_KEPT = 5_000
SCORES_KEPT = 100_000
ANSWERS_KEPT = 50_000
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
        for answer in scored.answers:
            self._add_answer(scored, answer)

    def _add_answer(self, scored: SuiteScored, answer: SuiteAnswer) -> None:
        texts = (scored.suite, answer.prompt, answer.expected, answer.difficulty or "")
        question = tuple(map(_storable, texts))
        self._database.write(
            "INSERT OR IGNORE INTO suite_questions (suite, prompt, expected, difficulty) VALUES (?,?,?,?)",
            question,
        )
        self._database.write(
            "INSERT OR REPLACE INTO suite_answers SELECT ?, id, ?, ? FROM suite_questions"
            " WHERE suite = ? AND prompt = ? AND expected = ? AND difficulty = ?",
            (scored.global_step, _storable(answer.text), answer.is_right, *question),
        )

    def add_preview(self, made: PreviewMade) -> None:
        """Note an answer to a fixed prompt."""
        row = (
            made.global_step, _storable(made.prompt), _storable(made.text), made.ended_by, made.seconds,
            json.dumps(made.metrics),
        )  # fmt: skip
        self._database.write("INSERT OR REPLACE INTO previews VALUES (?,?,?,?,?,?)", row)

    def rewind(self, global_step: int) -> None:
        """Forget what was measured after a step that counts no more."""
        for table in ("suite_scores", "suite_answers", "previews"):
            self._database.write(f"DELETE FROM {table} WHERE global_step > ?", (global_step,))

    def thin(self) -> None:
        """Drop what is too long ago."""
        kept = (("suite_scores", SCORES_KEPT), ("suite_answers", ANSWERS_KEPT), ("previews", PREVIEWS_KEPT))
        for table, keep in kept:
            self._database.write(
                f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?", (keep,)
            )


def _storable(text: str) -> str:
    # Half characters, as a prompt in config.json may hold, cannot be stored
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
