"""Categorical syllogisms about nonsense nouns: does a conclusion follow, or which one does?

Premises link the terms to a chain, from the subject of the question to its predicate. Distractors link an end
of the chain to a noun that occurs nowhere else, with "all" or "no". They change nothing: wherever the other
statements are true, such a noun can apply to nobody, or to the same ones as that end, which makes them true,
too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import factorial

from daemon.data_tools.puzzles.logic import MOODS, Mood, Statement, follows, is_consistent
from daemon.data_tools.puzzles.nouns import choose, count_choices
from daemon.data_tools.puzzles.space import Puzzle, Space, digits, worded

NOTE = "Groups may be empty."
JUDGE = (
    "{}\nDoes it follow that {}? Answer yes or no.",
    "Given: {}\nMust it be true that {}? Answer yes or no.",
)
CHOOSE = (
    "{}\nWhich of these follows: {}? If none does, answer: none",
    "Given: {}\nOne of these may follow: {}. Which one? If none does, answer: none",
)
LINKS: tuple[tuple[Mood, bool], ...] = (
    ("A", False),
    ("A", True),
    ("E", False),
    ("E", True),
)  # of a distractor


@dataclass(frozen=True)
class Level:
    """How hard the syllogisms are."""

    num_premises: int
    num_distractors: int = 0
    """At most one for each end of the chain."""
    has_negation: bool | None = None
    """Of the premises; None if either will do."""


LEVELS = {
    1: Level(2, has_negation=False),
    2: Level(2, has_negation=True),
    3: Level(3),
    4: Level(3, num_distractors=1),
    5: Level(4, num_distractors=2),
}


@dataclass(frozen=True)
class Form:
    """A syllogism without its nouns: the subject is term 0, the predicate the last one."""

    premises: tuple[Statement, ...]
    asked: tuple[Statement, ...]
    """One to be judged, or four to choose from."""
    answer: Statement | bool | None
    """The one that follows, or whether it does; None if none of the four does."""


def syllogisms(difficulty: int) -> list[Space]:
    """Return the syllogisms of one difficulty, 1 to 5.

    They are four spaces, drawn from equally: a conclusion that follows, one that does not, one of four that
    does, and none of the four.
    """
    level = LEVELS[difficulty]
    groups: dict[str, list[Form]] = {"follows": [], "does not": [], "one": [], "none": []}
    for form in _forms(level.num_premises):
        has_negation = any(premise.mood in ("E", "O") for premise in form.premises)
        if level.has_negation in (None, has_negation):
            groups[_group(form)].append(form)
    return [_space(forms, level) for forms in groups.values()]


def _group(form: Form) -> str:
    if isinstance(form.answer, bool):
        return "follows" if form.answer else "does not"
    return "one" if form.answer else "none"


@cache
def _forms(num_premises: int) -> tuple[Form, ...]:
    return tuple(form for premises in _chains(num_premises) for form in _questions(premises))


def _chains(num_premises: int) -> Iterator[tuple[Statement, ...]]:
    """Yield all ways to link each term with the next."""
    links: list[tuple[Mood, bool]] = list(product(MOODS, (False, True)))
    for chain in product(links, repeat=num_premises):
        yield tuple(_link(mood, i, i + 1, is_turned) for i, (mood, is_turned) in enumerate(chain))


def _link(mood: Mood, one: int, other: int, is_turned: bool) -> Statement:
    return Statement(mood, other, one) if is_turned else Statement(mood, one, other)


def _questions(premises: tuple[Statement, ...]) -> Iterator[Form]:
    """Yield what can be asked about consistent premises, with its answer."""
    num_terms = len(premises) + 1
    if not is_consistent(premises, num_terms):
        return
    candidates = tuple(Statement(mood, 0, num_terms - 1) for mood in MOODS)
    verdicts = [follows(candidate, premises, num_terms) for candidate in candidates]
    for candidate, verdict in zip(candidates, verdicts, strict=True):
        yield Form(premises, (candidate,), verdict)
    if sum(verdicts) <= 1:  # of two, none would be the one
        answer = candidates[verdicts.index(True)] if any(verdicts) else None
        yield Form(premises, candidates, answer)


def _space(forms: Sequence[Form], level: Level) -> Space:
    num_terms = level.num_premises + 1
    num_nouns = num_terms + level.num_distractors
    num_statements = level.num_premises + level.num_distractors
    bases = (
        len(forms),
        len(LINKS) ** level.num_distractors,
        factorial(num_statements),
        count_choices(num_nouns),
    )

    def puzzle(index: int) -> Puzzle:
        form_index, links_index, order_index, nouns_index = digits(index, bases)
        form = forms[form_index]
        links = digits(links_index, [len(LINKS)] * level.num_distractors)
        statements = [*form.premises, *_distractors(links, num_terms)]
        nouns = choose(nouns_index, num_nouns)
        return _written(form, _in_order(statements, order_index), nouns)

    size = 1
    for base in bases:
        size *= base
    return Space(size, puzzle)


def _distractors(links: Sequence[int], num_terms: int) -> Iterator[Statement]:
    """Yield one for each end of the chain that gets one: the subject first, then the predicate."""
    for i, (link, end) in enumerate(zip(links, (0, num_terms - 1), strict=False)):
        mood, is_turned = LINKS[link]
        yield _link(mood, end, num_terms + i, is_turned)


def _in_order(statements: Sequence[Statement], index: int) -> list[Statement]:
    left = list(statements)
    places = digits(index, range(len(left), 0, -1))
    return [left.pop(place) for place in places]


def _written(form: Form, statements: Sequence[Statement], nouns: Sequence[str]) -> Puzzle:
    given = " ".join([*(statement.text(nouns) for statement in statements), NOTE])
    if isinstance(form.answer, bool):
        conclusion = form.asked[0].text(nouns)
        return Puzzle(worded(JUDGE, given, _inside(conclusion)), "yes" if form.answer else "no")
    options = "; ".join(_inside(statement.text(nouns)) for statement in form.asked)
    return Puzzle(worded(CHOOSE, given, options), form.answer.text(nouns) if form.answer else "none")


def _inside(sentence: str) -> str:
    """Return a sentence as a part of another."""
    return sentence[0].lower() + sentence.removesuffix(".")[1:]
