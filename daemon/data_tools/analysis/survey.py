"""Read all rows of a file once, and sum them up.

Memory: about 40 bytes a row, and a sample of bounded size.
"""

import random
from array import array
from collections import Counter

import numpy as np

from daemon.data_tools.analysis.findings import Analysis, Duplicates, Sampled, Spread
from daemon.data_tools.analysis.languages import language_shares, script_shares
from daemon.data_tools.analysis.topics import SampledRow, find_topics
from daemon.data_tools.analysis.words import summarize, words_of
from daemon.data_tools.fingerprint import fingerprint
from trainer.data.conversation import Conversation

SAMPLE_ROWS = 10_000
SAMPLE_CHARACTERS = 2_000  # of each row
GROUPS_SHOWN = 10
HASH_BYTES = 8

CHARACTERS, WORDS, MESSAGES = "characters a row", "words a row", "messages a row"
ANSWER_CHARACTERS, ANSWER_WORDS = "characters an answer", "words an answer"


class Survey:
    """Takes rows one by one.

    Args:
        seed: chooses the sample and where the search for topics starts.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._lengths = {
            name: array("I") for name in (CHARACTERS, WORDS, MESSAGES, ANSWER_CHARACTERS, ANSWER_WORDS)
        }
        self._lines, self._hashes = array("I"), array("Q")
        self._formats: Counter[str] = Counter()
        self._roles: Counter[str] = Counter()
        self._sample: list[SampledRow] = []

    def add(self, line: int, format_name: str, conversation: Conversation) -> None:
        """Take one row, found on line `line` of the file."""
        self._formats[format_name] += 1
        self._measure(conversation)
        self._lines.append(line)
        self._hashes.append(int.from_bytes(fingerprint(conversation)[:HASH_BYTES], "little"))
        self._maybe_sample(line, conversation)

    def _measure(self, conversation: Conversation) -> None:
        characters = words = 0
        for message in conversation.messages:
            num_words = len(message.content.split())
            characters += len(message.content)
            words += num_words
            self._roles[message.role] += 1
            if message.role == "assistant":
                self._lengths[ANSWER_CHARACTERS].append(len(message.content))
                self._lengths[ANSWER_WORDS].append(num_words)
        self._lengths[CHARACTERS].append(characters)
        self._lengths[WORDS].append(words)
        self._lengths[MESSAGES].append(len(conversation.messages))

    def _maybe_sample(self, line: int, conversation: Conversation) -> None:
        """Keep every row of the file with the same probability (Vitter's algorithm R)."""
        place = len(self._sample)
        if place == SAMPLE_ROWS:
            place = self._random.randrange(len(self._lines))
            if place >= SAMPLE_ROWS:
                return
        # System prompts repeat from row to row, and would hide what differs
        texts = [message.content for message in conversation.messages if message.role != "system"]
        self._sample[place : place + 1] = [SampledRow(line, "\n".join(texts)[:SAMPLE_CHARACTERS])]

    def result(self) -> Analysis:
        """Sum up; at least one row was added."""
        turns = Counter(self._lengths[MESSAGES])
        return Analysis(
            rows=len(self._lines),
            formats=dict(self._formats.most_common()),
            lengths={name: _spread(values) for name, values in self._lengths.items() if values},
            turns=dict(sorted(turns.items())),
            roles=dict(self._roles.most_common()),
            answer_lengths=_by_doubling(self._lengths[ANSWER_CHARACTERS]),
            duplicates=self._duplicates(),
            sampled=self._sampled(),
        )

    def _duplicates(self) -> Duplicates:
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        largest = sorted(zip(-counts[counts > 1], first[counts > 1], strict=True))[:GROUPS_SHOWN]
        return Duplicates(
            extra_rows=int(len(hashes) - len(counts)),
            largest_groups=tuple((int(-negative), self._lines[row]) for negative, row in largest),
        )

    def _sampled(self) -> Sampled:
        sample = sorted(self._sample, key=lambda row: row.line)
        words = [words_of(row.text) for row in sample]
        return Sampled(
            rows=len(sample),
            characters_per_row=SAMPLE_CHARACTERS,
            vocabulary=summarize(words),
            scripts=script_shares(row.text for row in sample),
            languages=language_shares(words),
            topics=find_topics(sample, words, seed=self._seed),
        )


def _spread(values: "array[int]") -> Spread:
    numbers = np.frombuffer(values, dtype=np.uint32)
    low, middle, high, very_high = np.percentile(numbers, (5, 50, 95, 99), method="inverted_cdf")
    return Spread(
        smallest=int(numbers.min()),
        percentile_5=int(low),
        median=int(middle),
        mean=float(numbers.mean()),
        percentile_95=int(high),
        percentile_99=int(very_high),
        largest=int(numbers.max()),
        total=int(numbers.sum(dtype=np.uint64)),
    )


def _by_doubling(lengths: "array[int]") -> dict[str, int]:
    """Count lengths in classes that double: 0, 1, 2-3, 4-7, and so on; those at both ends are not empty."""
    counts = Counter(length.bit_length() for length in lengths)
    if not counts:
        return {}
    return {_class_name(bits): counts[bits] for bits in range(min(counts), max(counts) + 1)}


def _class_name(bits: int) -> str:
    if bits < 2:
        return str(bits)
    return f"{1 << bits - 1}-{(1 << bits) - 1}"
