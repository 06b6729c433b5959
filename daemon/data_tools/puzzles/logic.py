"""Decide what follows from categorical statements such as "All S are M" and "Some M are not P".

Such statements see only which kinds of individuals exist, where a kind says of every term whether it applies.
Those that say "all" or "no" forbid kinds; those that say "some" want an individual of a kind that is not
forbidden. So if there is any model at all, the one with an individual of every kind that is not forbidden is
one, and looking at it decides. Groups may be empty, as in modern logic: "All S are P" does not say that there
is an S.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Mood = Literal["A", "E", "I", "O"]
MOODS: tuple[Mood, ...] = ("A", "E", "I", "O")
OPPOSITE: dict[Mood, Mood] = {"A": "O", "O": "A", "E": "I", "I": "E"}
TEXTS: dict[Mood, str] = {
    "A": "All {} are {}.",
    "E": "No {} are {}.",
    "I": "Some {} are {}.",
    "O": "Some {} are not {}.",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of two terms, each a number counted from 0."""

    mood: Mood
    subject: int
    predicate: int

    def text(self, nouns: Sequence[str]) -> str:
        """Return it in words; `nouns` are the terms in the plural."""
        return TEXTS[self.mood].format(nouns[self.subject], nouns[self.predicate])

    @property
    def negation(self) -> "Statement":
        """What is true exactly when this is not."""
        return Statement(OPPOSITE[self.mood], self.subject, self.predicate)

    def kinds(self, num_terms: int) -> int:
        """Return the kinds it is about, as bits: those it forbids, or of which it wants an individual."""
        subject, predicate = _kinds_with(self.subject, num_terms), _kinds_with(self.predicate, num_terms)
        return subject & (~predicate if self.mood in ("A", "O") else predicate)


@cache
def _kinds_with(term: int, num_terms: int) -> int:
    return sum(1 << kind for kind in range(2**num_terms) if kind >> term & 1)


def is_consistent(statements: Iterable[Statement], num_terms: int) -> bool:
    """Whether all of them can be true together."""
    statements = tuple(statements)
    possible = (1 << 2**num_terms) - 1
    for statement in statements:
        if statement.mood in ("A", "E"):
            possible &= ~statement.kinds(num_terms)
    return all(
        statement.kinds(num_terms) & possible for statement in statements if statement.mood in ("I", "O")
    )


def follows(conclusion: Statement, premises: Sequence[Statement], num_terms: int) -> bool:
    """Whether `conclusion` is true wherever all `premises` are."""
    return not is_consistent([*premises, conclusion.negation], num_terms)
