"""Group rows by the words they share: TF-IDF weights and spherical k-means.

No model is asked: rows are alike if they use the same uncommon words.   Shapes: R = rows, W = words, T =
topics.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from daemon.data_tools.analysis.findings import Topic

Matrix = NDArray[np.float32]
Places = NDArray[np.intp]

ROWS_GROUPED = 5_000
LEAST_ROWS = 20  # fewer can be read by a person
MAX_WORDS = 2_000
MAX_SHARE = 0.4  # a word in more rows than that tells nothing
MAX_TOPICS = 12
ROWS_PER_TOPIC_SQUARED = 50  # 5,000 rows make 10 topics
MAX_ROUNDS = 50
CANDIDATES = 4  # for each further centre; the one that leaves the least is taken
SAME = 1e-6  # rounding makes equal rows differ by less
WORDS_SHOWN = 6
EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row that was drawn to be read closely."""

    line: int
    text: str


def find_topics(
    sample: Sequence[SampledRow], words: Sequence[Sequence[str]], *, seed: int
) -> tuple[Topic, ...]:
    """Return the topics of some rows, the largest first; none if there are too few rows.

    Args:
        words: of each row.
        seed: chooses the first centres.
    """
    step = -(-len(sample) // ROWS_GROUPED) or 1
    sample, words = sample[::step], words[::step]
    vocabulary = _telling_words(words)
    if len(sample) < LEAST_ROWS or not vocabulary:
        return ()
    weights = _weights(words, vocabulary)
    places = np.flatnonzero(weights.any(axis=1))  # a row without telling words belongs nowhere
    weights = weights[places]
    num_topics = min(MAX_TOPICS, max(2, isqrt(len(places) // ROWS_PER_TOPIC_SQUARED)))
    topics, centres = _cluster(weights, num_topics, np.random.default_rng(seed))
    found = []
    for number in np.unique(topics):
        members = np.flatnonzero(topics == number)
        typical = sample[places[members[np.argmax(weights[members] @ centres[number])]]]
        found.append(_topic(len(members) / len(sample), centres[number], vocabulary, typical))
    return tuple(sorted(found, key=lambda topic: (-topic.share, topic.example_line)))


def _topic(share: float, centre: Matrix, vocabulary: Sequence[str], typical: SampledRow) -> Topic:
    best = [int(place) for place in np.argsort(-centre, kind="stable")[:WORDS_SHOWN] if centre[place] > 0]
    return Topic(
        share=share,
        words=tuple(vocabulary[place] for place in best),
        example_line=typical.line,
        example=typical.text[:EXAMPLE_CHARACTERS],
    )


def _telling_words(words: Sequence[Sequence[str]]) -> list[str]:
    """Return the words that occur in several rows, but not in most."""
    rows_with = Counter(chain.from_iterable(map(set, words)))
    most = MAX_SHARE * len(words)
    telling = [(-count, word) for word, count in rows_with.items() if 2 <= count <= most]
    return [word for _, word in sorted(telling)[:MAX_WORDS]]


def _weights(words: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> Matrix:
    """Return how much each word says about each row: (R, W), rows of length 1 or 0."""
    column = {word: i for i, word in enumerate(vocabulary)}
    weights: Matrix = np.zeros((len(words), len(vocabulary)), dtype=np.float32)
    for row, row_words in enumerate(words):
        for word, count in Counter(row_words).items():
            if word in column:
                weights[row, column[word]] = count
    weights = np.where(weights > 0, 1 + np.log(np.maximum(weights, 1)), 0).astype(np.float32)
    weights *= np.log(len(words) / np.count_nonzero(weights, axis=0)).astype(np.float32)
    return _of_length_1(weights)


def _cluster(weights: Matrix, number: int, random: np.random.Generator) -> tuple[Places, Matrix]:
    """Return the topic of each row, and the centres: (R,) and (T, W)."""
    centres = _first_centres(weights, number, random)
    topics: Places = np.full(len(weights), -1)
    for _ in range(MAX_ROUNDS):
        nearest = np.argmax(weights @ centres.T, axis=1)
        if np.array_equal(nearest, topics):
            break
        topics = nearest
        for topic in np.unique(topics):
            centres[topic] = weights[topics == topic].mean(axis=0)
        centres = _of_length_1(centres)
    return topics, centres


def _first_centres(weights: Matrix, number: int, random: np.random.Generator) -> Matrix:
    """Choose rows that are far from each other (greedy k-means++: Arthur and Vassilvitskii, 2007).

    They are fewer than `number` if all rows are like these.
    """
    chosen = [int(random.integers(len(weights)))]
    distances = _distances(weights, chosen)[:, 0]
    while len(chosen) < number and distances.any():
        candidates = random.choice(len(weights), CANDIDATES, p=distances / distances.sum())
        reached = np.minimum(distances[:, None], _distances(weights, candidates))
        best = int(reached.sum(axis=0).argmin())
        chosen.append(int(candidates[best]))
        distances = reached[:, best]
    return weights[chosen]


def _distances(weights: Matrix, rows: Sequence[int] | Places) -> NDArray[np.float64]:
    """Return how far each row is from some of them; 0 where it is as good as the same."""
    distances = 1 - (weights @ weights[rows].T).astype(np.float64)
    return np.where(distances < SAME, 0, distances)


def _of_length_1(vectors: Matrix) -> Matrix:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
