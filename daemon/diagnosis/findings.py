"""The nouns of a diagnosis: an illness, what shows it, what it costs, and what would change it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from daemon.diagnosis.robust import median

MOST_POINTS = 60  # of a picture: a terminal has no room for more


class Illness(StrEnum):
    """What may be wrong with a training, in the order in which it is shown."""

    RATE_TOO_HIGH = "learning rate too high"
    RATE_TOO_LOW = "learning rate too low"
    OVERFITTING = "overfitting"
    PLATEAU = "plateau"
    SPIKES = "spikes"
    SLOW_INPUT = "slow input"
    REPEATED_ROWS = "repeated rows"
    SHORT_ANSWERS = "short answers"
    THINK_TAG_DRIFT = "think-tag drift"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number with its unit."""

    what: str
    value: float
    unit: str
    """Empty for a plain ratio."""


@dataclass(frozen=True, kw_only=True)
class SeriesPoint:
    """One point of a picture."""

    step: int
    """Of the model's life."""
    value: float


@dataclass(frozen=True, kw_only=True)
class Series:
    """What shows an illness, as few points that a picture can be drawn of, oldest first."""

    what: str
    unit: str
    points: tuple[SeriesPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What would help: a setting with a value to try, or a command."""

    text: str
    """Why it would; printable."""
    setting: str | None = None
    """Such as training.epochs."""
    now: Any = None
    """The value that it was trained with."""
    suggested: Any = None
    command: str | None = None
    """As it is typed in the working directory."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An illness that was found. All texts are printable."""

    illness: Illness
    seen: str
    """One sentence."""
    evidence: tuple[Measure, ...]
    series: Series
    costs: str
    """In words."""
    cost: Measure | None
    """The same as a number, where there is one."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """There is no sign of an illness."""

    read: str
    """What it was sought in."""


@dataclass(frozen=True, kw_only=True)
class TooLittle:
    """Whether there is an illness cannot be said."""

    missing: str
    """What is not there."""


Result = Finding | Nothing | TooLittle


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What came of searching for one illness."""

    illness: Illness
    result: Literal["found", "nothing", "not enough data"]
    read: str | None
    """What it was sought in; null if there was not enough."""
    missing: str | None
    """What there is not enough of; null otherwise."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What ails the training so far."""

    first_step: int | None
    """Of the model's life: the oldest step that was read; null if there is none."""
    last_step: int | None
    steps: int
    """That were read."""
    findings: tuple[Finding, ...]
    examined: tuple[Examined, ...]


def series_of(what: str, unit: str, values: Sequence[tuple[int, float]]) -> Series:
    """Return what shows an illness; many values become the medians of neighbouring ones."""
    width = -(-len(values) // MOST_POINTS) or 1
    parts = [values[start : start + width] for start in range(0, len(values), width)]
    return Series(
        what=what,
        unit=unit,
        points=tuple(
            SeriesPoint(step=part[len(part) // 2][0], value=median([value for _, value in part]))
            for part in parts
        ),
    )
