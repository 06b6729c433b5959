"""Nouns that mean nothing, numbered: nobody can answer from what they know of the world."""

from itertools import product

ONSETS = ("bl", "br", "d", "dr", "f", "fl", "g", "gl", "k", "kr", "m", "n", "pl", "r", "sn", "t", "v", "z")
VOWELS = ("a", "e", "i", "o", "u")
MIDDLES = ("bb", "ck", "dd", "lv", "mb", "mp", "nd", "nk", "rb", "rg", "rv", "sk", "zz")
ENDINGS = ("eebs", "ims", "oogs", "ufs")  # no noun of English has one of these after such a middle
NOUNS = tuple("".join(parts) for parts in product(ONSETS, VOWELS, MIDDLES, ENDINGS))
"""In the plural."""


def count_choices(number: int) -> int:
    """Return in how many ways `number` different nouns can stand in a row."""
    ways = 1
    for taken in range(number):
        ways *= len(NOUNS) - taken
    return ways


def choose(index: int, number: int) -> tuple[str, ...]:
    """Return choice number `index`, which is below `count_choices(number)`."""
    chosen: list[int] = []
    for taken in range(number):
        index, place = divmod(index, len(NOUNS) - taken)
        for other in sorted(chosen):  # `place` counts only the nouns that are left
            place += place >= other
        chosen.append(place)
    return tuple(NOUNS[place] for place in chosen)
