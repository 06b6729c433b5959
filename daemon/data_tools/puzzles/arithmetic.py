"""Expressions to be computed exactly: integers, and fractions where there is a division."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from daemon.data_tools.puzzles.space import Puzzle, Space, worded
from daemon.data_tools.puzzles.trees import Grammar, Node, Tree, build_tree, count_trees, fold

WORDINGS = ("Compute {}", "What is {}?", "Work out: {}", "Calculate {} exactly.")
OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
LARGEST_NUMERATOR = 10**9
LARGEST_DENOMINATOR = 1000


@dataclass(frozen=True)
class Level:
    """How hard the expressions are."""

    operators: str
    num_operators: int
    """Differs from level to level, so that no two levels share an expression."""
    largest_number: int


LEVELS = {
    1: Level("+-", 2, 999),
    2: Level("+-*", 3, 99),
    3: Level("+-*", 4, 99),
    4: Level("+-*/", 5, 50),
    5: Level("+-*/", 7, 50),
}


def arithmetic(difficulty: int) -> list[Space]:
    """Return the expressions of one difficulty, 1 to 5."""
    level = LEVELS[difficulty]
    grammar = Grammar(tuple(level.operators), tuple(range(1, level.largest_number + 1)), level.num_operators)

    def puzzle(index: int) -> Puzzle | None:
        tree = build_tree(grammar, index)
        answer = _answer(tree)
        if answer is None:
            return None
        return Puzzle(worded(WORDINGS, in_infix(tree)), str(answer))

    return [Space(count_trees(grammar), puzzle)]


def _answer(tree: Tree) -> Fraction | None:
    """Return the value; None if there is none, or if its digits would be what makes it hard."""
    try:
        value = fold(tree, Fraction, OPERATORS)
    except ZeroDivisionError:
        return None
    if abs(value.numerator) > LARGEST_NUMERATOR or value.denominator > LARGEST_DENOMINATOR:
        return None
    return value


def in_infix(tree: Tree) -> str:
    """Write a tree as people do, with no more brackets than are needed to read the same tree again."""
    if not isinstance(tree, Node):
        return str(tree)
    own = PRECEDENCE[tree.operator]
    left = _bracketed(tree.left, weaker_than=own)
    right = _bracketed(tree.right, weaker_than=own + 1)  # a - (b + c) needs them, (a - b) + c does not
    return f"{left} {tree.operator} {right}"


def _bracketed(tree: Tree, *, weaker_than: int) -> str:
    is_weaker = isinstance(tree, Node) and PRECEDENCE[tree.operator] < weaker_than
    return f"({in_infix(tree)})" if is_weaker else in_infix(tree)
