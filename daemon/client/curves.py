"""How a metric has changed over the steps: as many points as a picture has, with what lies between them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.ledger.evaluation_records import Validation
    from daemon.ledger.file_value import FileValue
    from daemon.ledger.step_records import StepBucket

PAGE = 1_000


class Metric(StrEnum):
    """What can be plotted over the steps."""

    LOSS = "loss"
    LR = "lr"
    GRAD_NORM = "grad_norm"
    TOKENS_PER_SEC = "tokens_per_sec"
    VALIDATION = "validation"

    @property
    def words(self) -> str:
        """What it is called on a picture."""
        return TITLES[self]


TITLES = {
    Metric.LOSS: "training loss",
    Metric.LR: "learning rate",
    Metric.GRAD_NORM: "gradient norm",
    Metric.TOKENS_PER_SEC: "tokens per second",
    Metric.VALIDATION: "validation loss",
}


class Axis(StrEnum):
    """What a curve is drawn over."""

    STEP = "step"
    """Of the model's life."""
    TOKENS = "tokens"
    """Trained so far."""
    TIME = "time"
    """Seconds that steps have taken so far; not those in which nothing was trained."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One stretch of steps."""

    first_step: int
    """Of the model's life, as the next one."""
    last_step: int
    low: float
    """The least value of these steps."""
    mean: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric over the steps, oldest first. Values that are no finite number are left out."""

    metric: Metric
    file: str | None
    """Whose steps they are; printable; None for those of all files."""
    points: list[CurvePoint]
    weights: str | None = None
    """Of validation losses, whose they are, as the newest one: those of the weights after the `last` step, or
    of their `average`. None for other metrics."""
    left_out: int = 0
    """How many losses of other weights are left out, where that of these was not measured."""

    @property
    def words(self) -> str:
        """What it is called on a picture."""
        return f"{self.metric.words} (averaged weights)" if self.weights == "average" else self.metric.words


def read_curve(
    ledger: Path, metric: Metric, *, max_points: int, value: "FileValue | None", last: int | None
) -> Curve:
    """Return a curve.

    Args:
        value: of the file whose steps they are; None for the steps of all files.
        last: only so many steps, the newest ones; None for all.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    from daemon.ledger.step_records import read_step_buckets

    if metric is Metric.VALIDATION:
        window = (0.0, inf)
        if value:
            window = (value.first_step or inf, value.last_step or -inf)
        found = _validations(ledger, window, last)
        curve = _validation_curve(found, max_points)
    else:
        job_id = value.job if value else None
        buckets = read_step_buckets(ledger, max_points=max_points, job_id=job_id, last=last)
        points = [point for bucket in buckets if (point := _point(bucket, metric))]
        curve = Curve(metric=metric, file=None, points=points)
    return replace(curve, file=value.name) if value else curve


def _point(bucket: "StepBucket", metric: Metric) -> CurvePoint | None:
    speed = bucket.tokens / bucket.seconds if bucket.seconds else None
    low, mean, high = {
        Metric.LOSS: (bucket.min_loss, bucket.mean_loss, bucket.max_loss),
        Metric.LR: (bucket.min_learning_rate, bucket.mean_learning_rate, bucket.max_learning_rate),
        Metric.GRAD_NORM: (bucket.min_grad_norm, bucket.mean_grad_norm, bucket.max_grad_norm),
        Metric.TOKENS_PER_SEC: (bucket.min_tokens_per_s, speed, bucket.max_tokens_per_s),
    }[metric]
    if low is None or mean is None or high is None or not all(map(isfinite, (low, mean, high))):
        return None
    return CurvePoint(first_step=bucket.first_step, last_step=bucket.last_step, low=low, mean=mean, high=high)


def _validation_curve(found: "list[Validation]", max_points: int) -> Curve:
    """Return the losses of the same weights as the newest one, so that each can be compared with each."""
    weights = found[-1].weights if found else None
    of_these = [
        (item.global_step, item.loss if item.weights == weights else item.other_loss) for item in found
    ]
    losses = [(step, loss) for step, loss in of_these if loss is not None and isfinite(loss)]
    return Curve(
        metric=Metric.VALIDATION,
        file=None,
        points=_summed_up(losses, max_points),
        weights=weights,
        left_out=sum(item.weights != weights and item.other_loss is None for item in found),
    )


def _validations(ledger: Path, window: tuple[float, float], last: int | None) -> "list[Validation]":
    """Return all validations in a window of steps."""
    found = [item for item in _all_validations(ledger) if window[0] <= item.global_step <= window[1]]
    newest = found[-1].global_step if found else 0
    return [item for item in found if last is None or item.global_step > newest - last]


def _all_validations(ledger: Path) -> "Iterator[Validation]":
    from daemon.ledger.evaluation_records import read_validations

    after = -1
    while page := read_validations(ledger, after=after, limit=PAGE):
        yield from page
        after = page[-1].global_step


def _summed_up(values: list[tuple[int, float]], max_points: int) -> list[CurvePoint]:
    """Return as many points as a picture has; each stands for neighbouring values."""
    width = -(-len(values) // max_points) or 1
    points = []
    for start in range(0, len(values), width):
        stretch = values[start : start + width]
        losses = [loss for _, loss in stretch]
        points.append(
            CurvePoint(
                first_step=stretch[0][0],
                last_step=stretch[-1][0],
                low=min(losses),
                mean=sum(losses) / len(losses),
                high=max(losses),
            )
        )
    return points
