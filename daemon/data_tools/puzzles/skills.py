"""The skills that puzzles teach, by name."""

from collections.abc import Callable
from enum import StrEnum

from daemon.data_tools.puzzles.arithmetic import arithmetic
from daemon.data_tools.puzzles.space import Space
from daemon.data_tools.puzzles.syllogisms import syllogisms
from daemon.data_tools.puzzles.symbolic import symbolic


class Skill(StrEnum):
    """What a run generates."""

    SYLLO = "syllo"
    ARITHMETIC = "arithmetic"
    SYMBOLIC = "symbolic"


SPACES: dict[Skill, Callable[[int], list[Space]]] = {
    Skill.SYLLO: syllogisms,
    Skill.ARITHMETIC: arithmetic,
    Skill.SYMBOLIC: symbolic,
}
"""From the difficulty, 1 to 5, to the spaces that are drawn from in turn."""
