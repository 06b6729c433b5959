"""S-expressions `(op left right)`: to be evaluated, or simplified to the canonical form of a polynomial."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

from daemon.data_tools.puzzles.polynomials import (
    Polynomial,
    canonical,
    constant,
    difference,
    product,
    total,
    variable,
)
from daemon.data_tools.puzzles.space import Puzzle, Space, worded
from daemon.data_tools.puzzles.trees import Grammar, Leaf, Node, Tree, build_tree, count_trees, fold

EVALUATE = ("Evaluate: {}", "What is the value of {}?", "Reduce to a number: {}")
SIMPLIFY = ("Simplify: {}", "Write as a canonical sum: {}", "Expand and collect: {}")
LARGEST_NUMBER = 10**6  # in an answer

NUMBERS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "max": max,
    "min": min,
}
POLYNOMIALS: dict[str, Callable[[Polynomial, Polynomial], Polynomial]] = {
    "add": total,
    "sub": difference,
    "mul": product,
}


@dataclass(frozen=True)
class Level:
    """How hard the expressions are."""

    operators: tuple[str, ...]
    num_operators: int
    """Differs from level to level, so that no two levels share an expression."""
    numbers: range
    variables: tuple[str, ...] = ()


LEVELS = {
    1: Level(("add", "sub"), 2, range(-200, 201)),
    2: Level(("add", "sub", "mul"), 3, range(-50, 51)),
    3: Level(("add", "sub", "mul", "max", "min"), 6, range(-20, 21)),
    # Beside variables only few numbers, and no 0, or most expressions would be constant
    4: Level(("add", "sub", "mul"), 5, range(1, 7), ("x", "y")),
    5: Level(("add", "sub", "mul"), 8, range(1, 7), ("x", "y", "z")),
}


def symbolic(difficulty: int) -> list[Space]:
    """Return the expressions of one difficulty, 1 to 5; from 4 on they have variables."""
    level = LEVELS[difficulty]
    grammar = Grammar(level.operators, (*level.numbers, *level.variables), level.num_operators)
    wordings = SIMPLIFY if level.variables else EVALUATE

    def puzzle(index: int) -> Puzzle | None:
        tree = build_tree(grammar, index)
        answer = _simplified(tree, level.variables) if level.variables else _value(tree)
        if answer is None:
            return None
        return Puzzle(worded(wordings, in_prefix(tree)), answer)

    return [Space(count_trees(grammar), puzzle)]


def in_prefix(tree: Tree) -> str:
    """Write a tree as an s-expression."""
    if not isinstance(tree, Node):
        return str(tree)
    return f"({tree.operator} {in_prefix(tree.left)} {in_prefix(tree.right)})"


def _value(tree: Tree) -> str | None:
    value = fold(tree, int, NUMBERS)
    return str(value) if abs(value) <= LARGEST_NUMBER else None


def _simplified(tree: Tree, variables: tuple[str, ...]) -> str | None:
    """Return the canonical form; None if no variable is left in it, or a number in it is very large."""

    def leaf(value: Leaf) -> Polynomial:
        if isinstance(value, int):
            return constant(value, len(variables))
        return variable(variables.index(value), len(variables))

    polynomial = fold(tree, leaf, POLYNOMIALS)
    is_small = all(abs(coefficient) <= LARGEST_NUMBER for coefficient in polynomial.values())
    has_variable = any(any(exponents) for exponents in polynomial)
    return canonical(polynomial, variables) if is_small and has_variable else None
