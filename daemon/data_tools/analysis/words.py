"""Split text into words, and measure how rich the vocabulary is."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from daemon.data_tools.analysis.findings import Vocabulary

# Chinese and Japanese put no spaces between words: there each character counts as one
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
MARKS = "\u0300-\u036f\u0900-\u0dff"  # accents and vowel signs, which `\w` does not count to the letters
LETTER = rf"[^\W\d_{IDEOGRAPHS}]"
WORD = re.compile(rf"[{IDEOGRAPHS}]|(?:{LETTER}|[{MARKS}])+(?:['{APOSTROPHE}]{LETTER}+)*")
WORDS_SHOWN = 30
RATIO_WORDS = 1_000  # in fewer words fewer are repeated, so ratios of other lengths cannot be compared


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, numbers and signs left out."""
    # Interned, because the sample has millions of words but only thousands of different ones
    return list(map(sys.intern, WORD.findall(text.casefold())))


def summarize(rows: Sequence[Sequence[str]]) -> Vocabulary:
    """Return what the words of some rows have in common."""
    counts = Counter(chain.from_iterable(rows))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Vocabulary(
        words=counts.total(),
        distinct=len(counts),
        type_token_ratio=_type_token_ratio(chain.from_iterable(rows)),
        most_frequent=tuple(ordered[:WORDS_SHOWN]),
    )


def _type_token_ratio(words: Iterator[str]) -> float | None:
    """Return the mean over runs of RATIO_WORDS words. A shorter one counts only if it is all there is."""
    ratios: list[float] = []
    while run := list(islice(words, RATIO_WORDS)):
        if len(run) == RATIO_WORDS or not ratios:
            ratios.append(len(set(run)) / len(run))
    return sum(ratios) / len(ratios) if ratios else None
