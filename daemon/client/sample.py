"""Rows for a first try: the capitals of twelve countries, which the model tiny knows after one file."""

import random
from collections.abc import Iterator
from itertools import permutations
from typing import Any

CAPITALS = {
    "Canada": "Ottawa",
    "Egypt": "Cairo",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "India": "New Delhi",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Spain": "Madrid",
}
QUESTIONS = ("Capital of {}?", "What is the capital of {}?", "Which city is the capital of {}?")
NUM_ROWS = 600
SEED = 1


def sample_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows, always the same, and none twice: a conversation asks about two countries."""
    asked = [(country, question) for country in CAPITALS for question in QUESTIONS]
    pairs = [(first, second) for first, second in permutations(asked, 2) if first[0] != second[0]]
    for pair in random.Random(SEED).sample(pairs, NUM_ROWS):
        yield {"messages": [message for country, question in pair for message in _turns(country, question)]}


def _turns(country: str, question: str) -> Iterator[dict[str, str]]:
    yield {"role": "user", "content": question.format(country)}
    yield {"role": "assistant", "content": f"{CAPITALS[country]}."}
