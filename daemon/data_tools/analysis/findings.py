"""What an analysis finds, as values that can be written as JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a number varies. All but the mean are values that occur. Tables show the fields in this order."""

    smallest: int
    percentile_5: int
    median: int
    mean: float
    percentile_95: int
    percentile_99: int
    largest: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Rows with the same content, as `training_data dedupe` compares them."""

    extra_rows: int
    """All but the first of each."""
    largest_groups: tuple[tuple[int, int], ...]
    """How often, and the first line."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The words of the sample, whatever their case."""

    words: int
    distinct: int
    type_token_ratio: float | None
    """Distinct words in 1,000 successive ones, on average; None where there are none."""
    most_frequent: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Rows of the sample that share words."""

    share: float
    """Of the rows."""
    words: tuple[str, ...]
    """What distinguishes it from the others."""
    example_line: int
    """Of its most typical row."""
    example: str
    """The beginning of that row."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What is known from a sample of the rows only, without system prompts."""

    rows: int
    characters_per_row: int
    """No more of a row was inspected."""
    vocabulary: Vocabulary
    scripts: dict[str, float]
    """Share of letters."""
    languages: dict[str, float]
    """Share of rows, guessed from common words."""
    topics: tuple[Topic, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything about one file."""

    rows: int
    formats: dict[str, int]
    """Rows of each."""
    lengths: dict[str, Spread]
    turns: dict[int, int]
    """Rows with so many messages."""
    roles: dict[str, int]
    """Messages of each."""
    answer_lengths: dict[str, int]
    """Answers with so many characters."""
    duplicates: Duplicates
    sampled: Sampled
