"""Curves that are drawn again and again while the model is trained, and what they are marked with."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.curves import Axis, Metric
from daemon.client.errors import NoSuchFile, UnreadableHistory, raising
from daemon.ledger.curve_buckets import (
    Bucket,
    Column,
    CurveBuckets,
    Trained,
    cumulated,
    step_window,
)
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.client.history import History
    from daemon.client.marks import Marks, TrainedInSteps
    from daemon.client.models import Models
    from daemon.ledger.evaluation_records import Validation

POINTS = 1_000
COLUMNS: dict[Metric, Column] = {
    Metric.LOSS: "loss",
    Metric.LR: "learning_rate",
    Metric.GRAD_NORM: "grad_norm",
    Metric.TOKENS_PER_SEC: "tokens_per_s",
}
PAGE = 1_000


@dataclass(frozen=True, kw_only=True)
class LiveCurve:
    """A metric over the steps, oldest first, as columns of equal length."""

    metric: Metric
    file: str | None
    """Whose steps they are; printable; None for those of all files."""
    axis: Axis
    newest_step: int
    """Of all that could be shown; 0 without any."""
    steps_per_point: int
    """A power of two; new steps go into the last point until it has so many. 1 for validation losses."""
    x: list[float]
    """Where the last step of each point is on the axis."""
    first_step: list[int]
    """Of the model's life, as the next one."""
    last_step: list[int]
    steps: list[int]
    """As many as the ledger has; of old ones it keeps every hundredth."""
    low: list[float | None]
    """None where no value is a finite number."""
    mean: list[float | None]
    high: list[float | None]
    not_finite: list[int]
    """How many values are no finite number."""
    tokens: list[int]
    """Of these steps; only for tokens per second, as the next one."""
    seconds: list[float]
    weights: list[str]
    """Of validation losses, whose each is: that of the weights after the `last` step, or of their `average`.
    Empty for other metrics."""

    def column_names(self) -> list[str]:
        """Return the columns of a table of its points."""
        numbers = ["x", "first_step", "last_step", "steps", "low", "mean", "high", "not_finite"]
        return [*numbers, *(name for name in ("tokens", "seconds", "weights") if getattr(self, name))]

    def rows(self) -> "Iterator[tuple[object, ...]]":
        """Return the rows of that table."""
        return zip(*(getattr(self, name) for name in self.column_names()), strict=True)


class LiveCurves:
    """The curves of one working directory. It keeps finished points, so whoever draws often keeps it."""

    def __init__(self, layout: Layout, history: "History", models: Callable[[], "Models"]) -> None:
        self._layout = layout
        self._ledger: Path = layout.ledger_file
        self._history = history
        self._models = models
        self._buckets = CurveBuckets(self._ledger)

    def curve(
        self,
        metric: Metric,
        *,
        file: str | None = None,
        axis: Axis = Axis.STEP,
        first: int | None = None,
        last: int | None = None,
        max_points: int = POINTS,
    ) -> LiveCurve:
        """Return how a metric has changed, with the least and the greatest value of each stretch of steps.

        Args:
            file: only steps of the newest job of a file of this name, or of the job with this id.
            first, last: global steps; a point that has one of them is returned whole. None for all.
        Raises:
            NoSuchFile: the ledger has no job of such a file.
            UnreadableHistory: the ledger cannot be read.
        """
        with raising(UnreadableHistory, UnreadableLedger):
            job_id, name = self._job_of(file) if file is not None else (None, None)
            window = step_window(self._ledger, job_id=job_id)
            if metric is Metric.VALIDATION:
                return self._validations(name, axis, window, job_id, (first, last), max_points)
            least, newest = window or (1, 0)
            column = COLUMNS[metric]
            width, buckets = self._buckets.read(
                column,
                job_id=job_id,
                first=max(least, first or least),
                last=min(newest, last if last is not None else newest),
                max_points=max_points,
            )
            places = self._places(axis, window, job_id, [item.last_step for item in buckets])
        is_speed = metric is Metric.TOKENS_PER_SEC
        return LiveCurve(
            metric=metric,
            file=name,
            axis=axis,
            newest_step=newest,
            steps_per_point=width,
            x=places,
            first_step=[item.first_step for item in buckets],
            last_step=[item.last_step for item in buckets],
            steps=[item.steps for item in buckets],
            low=[item.low for item in buckets],
            mean=[item.mean for item in buckets],
            high=[item.high for item in buckets],
            not_finite=[item.steps - item.finite for item in buckets],
            tokens=[item.tokens for item in buckets] if is_speed else [],
            seconds=[item.seconds for item in buckets] if is_speed else [],
            weights=[],
        )

    def marks(self, *, first: int | None = None, last: int | None = None) -> "Marks":
        """Return what curves are marked with in a range of global steps; None for all.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.marks import read_marks

        return read_marks(self._layout, self._models(), self._history, first=first, last=last)

    def trained_rows(self, first: int, last: int, *, limit: int = PAGE) -> "TrainedInSteps":
        """Return which files, and which of their rows, were trained in a range of global steps.

        Args:
            limit: only so many stretches of steps, the first ones.
        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.marks import rows_in_steps

        return rows_in_steps(self._layout, first, last, limit=limit)

    def _job_of(self, file: str) -> tuple[str, str]:
        """Return the id of a file's newest job, and its name."""
        from daemon.ledger.job_records import name_of_job

        if name := name_of_job(self._ledger, file):
            return file, name
        ids = self._history.job_ids_of(file.rpartition("/")[2])
        if not ids:
            raise NoSuchFile(
                f"no file named {printable(file)} was accepted; expected a name as training_queue history "
                "shows"
            )
        return ids[0], printable(file.rpartition("/")[2])

    def _places(
        self,
        axis: Axis,
        window: tuple[int, int] | None,
        job_id: str | None,
        steps: list[int],
    ) -> list[float]:
        """Return where steps are on an axis; between the points of the whole curve, evenly spread."""
        if axis is Axis.STEP or not window:
            return [float(step) for step in steps]
        _, buckets = self._buckets.read(
            "tokens_per_s", job_id=job_id, first=window[0], last=window[1], max_points=POINTS
        )
        trained = _with_start(buckets)
        return [_place(trained, step, axis) for step in steps]

    def _validations(
        self,
        name: str | None,
        axis: Axis,
        window: tuple[int, int] | None,
        job_id: str | None,
        wanted: tuple[int | None, int | None],
        max_points: int,
    ) -> LiveCurve:
        """Return validation losses as points; those of other weights, where they were measured, as others."""
        least, newest = window or (0, -1 if job_id else 0)
        first = max(wanted[0] or 0, least if job_id else 0)
        last = newest if wanted[1] is None else min(newest, wanted[1])
        found = self._validations_in(first, last)
        every = -(-sum(len(_losses(item)) for item in found) // max_points) or 1
        points = [point for item in found[::every] for point in _losses(item)]
        steps = [step for step, _, _ in points]
        losses: list[float | None] = [loss for _, loss, _ in points]
        return LiveCurve(
            metric=Metric.VALIDATION,
            file=name,
            axis=axis,
            newest_step=max(newest, 0),
            steps_per_point=1,
            x=self._places(axis, window, job_id, steps),
            first_step=steps,
            last_step=steps,
            steps=[1] * len(steps),
            low=losses,
            mean=losses,
            high=losses,
            not_finite=[int(loss is None) for loss in losses],
            tokens=[],
            seconds=[],
            weights=[weights for _, _, weights in points],
        )

    def _validations_in(self, first: int, last: int) -> "list[Validation]":
        found: list[Validation] = []
        after = first - 1
        while page := self._history.validations(after=after, limit=PAGE):
            found += [item for item in page if item.global_step <= last]
            after = page[-1].global_step
            if after >= last:
                break
        return found


def _losses(item: "Validation") -> list[tuple[int, float | None, str]]:
    other = "last" if item.weights == "average" else "average"
    found: list[tuple[int, float | None, str]] = [(item.global_step, item.loss, item.weights)]
    if item.other_loss is not None:
        found.append((item.global_step, item.other_loss, other))
    return found


def _with_start(buckets: list[Bucket]) -> list[Trained]:
    start = Trained(buckets[0].first_step - 1 if buckets else 0, 0.0, 0.0)
    return [start, *cumulated(buckets)]


def _place(trained: list[Trained], step: int, axis: Axis) -> float:
    def value(item: Trained) -> float:
        return item.tokens if axis is Axis.TOKENS else item.seconds

    number = bisect_left(trained, step, key=lambda item: item.step)
    if number == 0:
        return value(trained[0])
    if number == len(trained):
        return value(trained[-1])
    before, after = trained[number - 1], trained[number]
    share = (step - before.step) / (after.step - before.step)
    return value(before) + (value(after) - value(before)) * share
