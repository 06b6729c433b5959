"""Rows to train on: many short ones, a few long ones, about half of each is prompt. Decided by a seed."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXT = (  # common words, so that the tokenizer of `tiny` needs one or two tokens for each
    "the a of and to in that is was it for on are with as they be at one have this from or had by but not "
    "what all were we when your can there use an each which she do how their if will up other about out "
    "many then them these so some her would make like him into time has look two more write go see number "
    "no way could people my than first water been call who oil its now find long down day did get come "
    "made may part small house garden morning question answer sentence capital number story friends blue "
    "light sun air list result letters word true false"
)
WORDS = TEXT.split()
TOKENS_PER_WORD = 1.45  # with the tokenizer of `tiny`
TOKENS_PER_MESSAGE = 10  # what the template puts around each
MEDIAN_TOKENS = 70
SPREAD = 0.9  # one row in 600 reaches the limit
SHORTEST_TOKENS, LONGEST_TOKENS = 20, 1000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What rows look like."""

    median_tokens: float = MEDIAN_TOKENS
    spread: float = SPREAD
    """Standard deviation of the length's logarithm."""
    longest_tokens: int = LONGEST_TOKENS
    prompt_share: float = 0.5
    """Part of a row's words that is not supervised, on average."""
    multi_turn_share: float = 0.2
    """Part of the rows that have two to four exchanges instead of one."""
    seed: int = 1


def make_rows(number: int, workload: Workload | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows of messages."""
    workload = workload or Workload()
    chance = random.Random(workload.seed)
    for _ in range(number):
        yield {"messages": _messages(chance, workload)}


def write_rows(path: Path, number: int, workload: Workload | None = None) -> Path:
    """Write rows as JSON lines; return `path`."""
    with path.open("w") as lines:
        for row in make_rows(number, workload):
            lines.write(json.dumps(row) + "\n")
    return path


def _messages(chance: random.Random, workload: Workload) -> list[dict[str, str]]:
    exchanges = chance.randint(2, 4) if chance.random() < workload.multi_turn_share else 1
    length = chance.lognormvariate(math.log(workload.median_tokens), workload.spread)
    tokens = min(max(length, SHORTEST_TOKENS), workload.longest_tokens) - 2 * TOKENS_PER_MESSAGE * exchanges
    words = max(2 * exchanges, round(tokens / TOKENS_PER_WORD))
    share = min(max(chance.gauss(workload.prompt_share, 0.15), 0.1), 0.9)
    messages = []
    for _ in range(exchanges):
        asked = max(1, round(share * words / exchanges))
        messages.append({"role": "user", "content": _text(chance, asked)})
        answered = max(1, words // exchanges - asked)
        messages.append({"role": "assistant", "content": _text(chance, answered)})
    return messages


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))
