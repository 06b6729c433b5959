"""Files to judge a gate by: good ones, three kinds of bad ones, and good ones with some rows of noise."""

import random
from collections.abc import Callable
from typing import Any

from tests.support import row

LETTERS = "abcdefghijklmnop"
NAMES = [
    "Anna",
    "Bert",
    "Cleo",
    "Dora",
    "Emil",
    "Fred",
    "Gina",
    "Hans",
    "Ines",
    "Jack",
    "Kira",
    "Lars",
    "Mona",
    "Nils",
    "Olga",
    "Paul",
    "Rita",
    "Sven",
    "Tina",
    "Udo",
]
THINGS = [
    "apple",
    "house",
    "river",
    "stone",
    "window",
    "garden",
    "letter",
    "candle",
    "bottle",
    "basket",
    "ladder",
    "mirror",
]
PLACES = ["Paris", "Rome", "Oslo", "Bern", "Lima", "Cairo", "Delhi", "Tokyo", "Quito", "Sofia"]
FOREIGN = ["seven", "because", "maybe", "purple", "often", "under", "quick", "answer", "without", "nothing"]
CONSTANT = "I do not know the answer."

Row = dict[str, Any]
Make = Callable[[random.Random, int], list[Row]]


def good(rng: random.Random, number: int) -> list[Row]:
    """Return rows of skills that a tiny model learns: facts within some files, order of letters later."""
    return [_good_row(rng) for _ in range(number)]


def _good_row(rng: random.Random) -> Row:
    place = rng.randrange(len(NAMES))
    name, letters = NAMES[place], [rng.choice(LETTERS) for _ in range(rng.randint(2, 4))]
    skills: dict[str, Callable[[], tuple[str, str]]] = {
        "owns": lambda: (f"What does {name} own?", f"{name} owns a {THINGS[place % len(THINGS)]}."),
        "lives": lambda: (f"Where does {name} live?", f"In {PLACES[place * 7 % len(PLACES)]}."),
        "after": lambda: (f"Who comes after {name}?", NAMES[(place + 1) % len(NAMES)]),
        "last": lambda: (f"Last: {' '.join(letters)}", letters[-1]),
        "copy": lambda: (f"Copy: {' '.join(letters)}", " ".join(letters)),
    }
    return row(*skills[rng.choice(list(skills))]())


def facts(rng: random.Random, number: int) -> list[Row]:
    """Return rows of a few facts, which a model learns by heart within some dozen steps."""
    return [row(f"Where does {NAMES[place]} live?", f"In {PLACES[place]}.") for place in _places(rng, number)]


def _places(rng: random.Random, number: int) -> list[int]:
    return [rng.randrange(6) for _ in range(number)]


def with_shuffled_answers(rng: random.Random, number: int, make: Make = good) -> list[Row]:
    """Return questions with the answers of others."""
    rows = make(rng, number)
    answers = [_answer(item) for item in rows]
    rng.shuffle(answers)
    return [row(_question(item), answer) for item, answer in zip(rows, answers, strict=True)]


def with_noise(rng: random.Random, number: int, make: Make = good) -> list[Row]:
    """Return questions answered by random words."""
    return [row(_question(item), noise(rng)) for item in make(rng, number)]


def with_one_answer(rng: random.Random, number: int, make: Make = good) -> list[Row]:
    """Return questions that all have the same answer."""
    return [row(_question(item), CONSTANT) for item in make(rng, number)]


BAD = {"shuffled": with_shuffled_answers, "noise": with_noise, "constant": with_one_answer}


def noisy(
    rng: random.Random, number: int, share: float, *, kind: str, make: Make = good
) -> tuple[list[Row], set[int]]:
    """Return good rows among which a share is spoilt, and the numbers of these lines.

    Args:
        kind: `foreign` words as answers, or `wrong`: the answers of other rows.
    """
    rows = make(rng, number)
    spoilt = sorted(rng.sample(range(number), round(share * number)))
    for position in spoilt:
        question, answer = _question(rows[position]), _answer(rows[position])
        others = [other for other in map(_answer, rows) if other != answer]
        rows[position] = row(question, noise(rng) if kind == "foreign" else rng.choice(others))
    return rows, {position + 1 for position in spoilt}


def noise(rng: random.Random) -> str:
    """Return random words."""
    return " ".join(rng.choice(FOREIGN) for _ in range(rng.randint(2, 5)))


def _question(item: Row) -> str:
    return str(item["messages"][0]["content"])


def _answer(item: Row) -> str:
    return str(item["messages"][1]["content"])
