"""Number all binary expression trees of a grammar: count them, and build the tree of a number.

Counting first and building from a number afterwards is called unranking (Nijenhuis and Wilf, "Combinatorial
Algorithms", 1978). Every tree has exactly one number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

Leaf = int | str
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Node:
    """An operator between two trees."""

    operator: str
    left: "Tree"
    right: "Tree"


Tree = Leaf | Node


@dataclass(frozen=True)
class Grammar:
    """Which trees there are.

    Args:
        operators: names, each once.
        leaves: numbers and variables, each once.
        num_operators: in every tree.
    """

    operators: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    num_operators: int


def count_trees(grammar: Grammar) -> int:
    """Return how many trees there are."""
    return _count(len(grammar.operators), len(grammar.leaves), grammar.num_operators)


@cache
def _count(operators: int, leaves: int, size: int) -> int:
    if size == 0:
        return leaves
    return operators * sum(
        _count(operators, leaves, left) * _count(operators, leaves, size - 1 - left) for left in range(size)
    )


def build_tree(grammar: Grammar, index: int) -> Tree:
    """Return tree number `index`, which is below `count_trees(grammar)`."""

    def build(size: int, index: int) -> Tree:
        if size == 0:
            return grammar.leaves[index]
        index, operator = divmod(index, len(grammar.operators))
        left_size = 0
        while index >= (number := count(left_size) * count(size - 1 - left_size)):
            index -= number
            left_size += 1
        left, right = divmod(index, count(size - 1 - left_size))
        return Node(grammar.operators[operator], build(left_size, left), build(size - 1 - left_size, right))

    def count(size: int) -> int:
        return _count(len(grammar.operators), len(grammar.leaves), size)

    return build(grammar.num_operators, index)


def fold(
    tree: Tree, leaf: Callable[[Leaf], Value], operators: dict[str, Callable[[Value, Value], Value]]
) -> Value:
    """Return the value of `tree`, computed from its leaves upwards."""
    if not isinstance(tree, Node):
        return leaf(tree)
    return operators[tree.operator](fold(tree.left, leaf, operators), fold(tree.right, leaf, operators))
