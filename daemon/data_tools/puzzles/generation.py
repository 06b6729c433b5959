"""Make the rows of one run: which puzzles, and which not because they are kept for validation."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from daemon.data_tools.puzzles.skills import SPACES, Skill
from daemon.data_tools.puzzles.space import Puzzle, draw
from daemon.data_tools.reading import DataFile, LeftOut

SOURCE = "training_data generate"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is generated. The same run gives the same rows, always."""

    skill: Skill
    difficulty: int
    seed: int
    count: int


def generate(run: Run, *, kept_out: Collection[bytes] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run.

    Args:
        kept_out: marks of questions that must not occur.
    Raises:
        TooFewPuzzles: there are not as many.
    """
    puzzles = draw(
        SPACES[run.skill](run.difficulty),
        key=f"{run.skill}:{run.difficulty}",
        seed=run.seed,
        count=run.count,
        is_wanted=lambda puzzle: not kept_out or question_mark(puzzle.question) not in kept_out,
    )
    return (_row(puzzle, run) for puzzle in puzzles)


def questions_in(files: Iterable[DataFile], left_out: LeftOut) -> set[bytes]:
    """Return the marks of everything that is asked in some files."""
    return {
        question_mark(message.content)
        for file in files
        for row in file.rows(left_out)
        for message in row.conversation.messages
        if message.role == "user"
    }


def question_mark(question: str) -> bytes:
    """Return a short stand-in for a question; white space and case make no difference."""
    return hashlib.blake2b(" ".join(question.casefold().split()).encode(), digest_size=16).digest()


def _row(puzzle: Puzzle, run: Run) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": puzzle.question},
            {"role": "assistant", "content": puzzle.answer},
        ],
        "metadata": {
            "skill": run.skill.value,
            "difficulty": run.difficulty,
            "source": SOURCE,
            "seed": run.seed,
            "answer": puzzle.answer,
        },
    }
