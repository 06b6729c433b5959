"""A learning rate that is too high or too low, from the course of the loss within one file."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import NEARLY_ALL, Observations, Stretch
from daemon.diagnosis.robust import (
    block_medians,
    median,
    median_error,
    noise,
    parts_of,
    rank_trend,
    slope,
)

NATS = "nats per token"
ERRORS = 4.0  # standard errors between two medians that are called different: chance is 1 in 30,000

# ---- too high

LEAST_STEPS_HIGH = 60  # four quarters of 15 steps
LEAST_LOSS = 1e-6  # whose logarithm can be taken
START_STEPS = 5  # they show the weights as they were: the warm-up, or Adam's first steps, hardly move them
GUESSING = 12.5  # nats per token: the logarithm of the largest vocabulary in use, 262,144 tokens (Gemma 3)
WORSE = 0.15  # of the loss: what falls only rises so far if training undoes itself
BLOCK_STEPS = 10  # shorter ones say too little of a median
LEAST_BLOCKS = 8
OSCILLATES = 0.25  # of all neighbouring blocks: as often up as down would be 0.5
SWING = 0.1  # of the loss

# ---- too low

LEAST_STEPS_LOW = 400  # in fewer, an ordinary start may look straight
BLOCKS_LOW = 20
STEADY = -0.9  # Kendall's tau: at most one pair of blocks in 20 is out of order
STRAIGHT = 0.7  # a loss that nears its floor slows down far more within the same steps
LEAST_FALL, SLOW_FALL = 0.01, 0.15  # of the loss, over all these steps
SAME_NORM = 0.1  # of the gradient norm: a model that learns anything changes it
FASTER = 5  # times the rate: what a search over rates usually steps by, rounded up


# ---- too high


@dataclass(frozen=True)
class Course:
    """How a loss went within one file."""

    best: float
    """Median of its beginning, or of its best quarter; of the first step if only that one was better."""
    best_step: int
    now: float
    """Median of its last quarter."""
    is_worse: bool
    is_wild: bool
    """Whether guessing would be better."""
    swings: float
    """Share of neighbouring blocks with a significant rise."""


def find_rate_too_high(observed: Observations) -> Result:
    """Compare the end of the newest long stretch with its beginning and its best quarter, and its swings.

    A loss that is higher at the end than it was, by much more than its noise, was trained to be so: all rows
    of a file come in random order. One that is worse than that of guessing needs no comparison. Swings are
    rises between neighbouring blocks that noise cannot explain.
    """
    stretch = observed.newest_stretch(LEAST_STEPS_HIGH)
    if stretch is None:
        return TooLittle(missing=f"no file has {LEAST_STEPS_HIGH} steps in a row")
    course = _course(stretch)
    if not course.is_worse and not course.is_wild and course.swings < OSCILLATES:
        return Nothing(read=f"{len(stretch.steps):,} steps of {stretch.name}")
    return _too_high(observed, stretch, course)


def _course(stretch: Stretch) -> Course:
    logs = [math.log(max(loss, LEAST_LOSS)) for loss in stretch.losses]  # their noise is alike at any level
    quarters = parts_of(logs, 4)
    starts = [0, *(len(logs) * part // 4 for part in range(1, 4))]
    parts = [(logs[:1], 0), (logs[:START_STEPS], 0), *zip(quarters, starts, strict=True)]
    sigma, now = noise(logs), median(quarters[-1])
    is_wild = median(stretch.losses) > GUESSING
    better = [(part, place) for part, place in parts if _is_higher(now, quarters[-1], part, sigma)]
    best, place = parts[0] if is_wild else min(better or parts[1:], key=lambda part: median(part[0]))
    return Course(
        best=math.exp(median(best)),
        best_step=stretch.steps[place + len(best) // 2].global_step,
        now=math.exp(now),
        is_worse=bool(better),
        is_wild=is_wild,
        swings=_swings(logs),
    )


def _is_higher(now: float, newest: Sequence[float], part: Sequence[float], sigma: float) -> bool:
    """Whether the newest quarter is certainly higher than an earlier part, and by much; in logarithms."""
    error = math.hypot(median_error(sigma, len(part)), median_error(sigma, len(newest)))
    return now - median(part) > max(ERRORS * error, math.log(1 + WORSE))


def _swings(logs: Sequence[float]) -> float:
    """Return the share of neighbouring blocks between which the loss rises for certain."""
    number = len(logs) // BLOCK_STEPS
    if number < LEAST_BLOCKS:
        return 0.0
    error = math.sqrt(2) * median_error(noise(logs), BLOCK_STEPS)
    least = max(ERRORS * error, math.log(1 + SWING))
    rises = [later - earlier > least for earlier, later in pairwise(block_medians(logs, number))]
    return sum(rises) / len(rises)


def _too_high(observed: Observations, stretch: Stretch, course: Course) -> Finding:
    rate = _rate(stretch)
    if course.is_wild:
        seen = (
            f"the loss of {stretch.name} is mostly above {GUESSING:g}: guessing every token would be better"
        )
        costs = "these steps have made the model useless"
    elif course.is_worse:
        seen = f"the loss of {stretch.name} is at {course.now:.3g} where it was {course.best:.3g} before"
        costs = "these steps have made the model worse than it was"
    else:
        seen = f"the loss of {stretch.name} swings: {course.swings:.0%} of its stretches rise by far"
        costs = "steps undo each other"
    lost = max(0, stretch.last_step - course.best_step)
    return Finding(
        illness=Illness.RATE_TOO_HIGH,
        seen=seen,
        evidence=(
            Measure(what="loss at its best", value=course.best, unit=NATS),
            Measure(what="loss now", value=course.now, unit=NATS),
            Measure(what="stretches that rise", value=100 * course.swings, unit="percent"),
            Measure(what="learning rate", value=rate, unit=""),
            *_clipped(observed, stretch),
        ),
        series=series_of("training loss", NATS, _loss_points(stretch)),
        costs=f"{costs}: {lost:,} steps since step {course.best_step:,}",
        cost=Measure(what="steps since the best loss", value=lost, unit="steps"),
        changes=tuple(_lower(observed, stretch, rate, lost, is_worse=course.is_worse or course.is_wild)),
    )


def _lower(
    observed: Observations, stretch: Stretch, rate: float, lost: int, *, is_worse: bool
) -> Iterator[Change]:
    yield Change(
        text="lets each step go less far",
        setting="training.learning_rate",
        now=rate,
        suggested=float(f"{rate / (10 if is_worse else 3):.2g}"),
    )
    behind = lost + observed.last_step - stretch.last_step
    if is_worse and 0 < behind < observed.last_step - 1:  # else there is nothing to go back to
        yield Change(
            text="shows what going back to before that would undo",
            command=f"training_models rollback --steps {behind} --dry-run",
        )


def _clipped(observed: Observations, stretch: Stretch) -> Iterator[Measure]:
    """Yield in how many steps the gradient was clipped, if it may be."""
    limit = float(observed.trained_with(stretch.job_id, "training", "max_grad_norm"))
    norms = [step.grad_norm for step in stretch.steps if step.grad_norm is not None]
    if limit and norms:
        clipped = sum(norm > limit for norm in norms) / len(norms)
        yield Measure(what="steps whose gradient was clipped", value=100 * clipped, unit="percent")


def _rate(stretch: Stretch) -> float:
    return max(step.learning_rate for step in stretch.steps)


def _loss_points(stretch: Stretch) -> list[tuple[int, float]]:
    return [(step.global_step, loss) for step, loss in zip(stretch.steps, stretch.losses, strict=True)]


# ---- too low


@dataclass(frozen=True)
class Descent:
    """How a loss falls, in the medians of blocks."""

    level: float
    """At the end."""
    fall: float
    """Of the level at the beginning."""
    per_step: float
    tau: float
    straightness: float
    """The slope of the second half divided by that of the first."""
    norm_change: float
    """Of the gradient norm from the first quarter to the last, relative."""

    @property
    def is_slow(self) -> bool:
        return (
            self.tau <= STEADY
            and LEAST_FALL <= self.fall <= SLOW_FALL
            and self.straightness >= STRAIGHT
            and abs(self.norm_change) <= SAME_NORM
        )


def find_rate_too_low(observed: Observations) -> Result:
    """Test whether the model's first file falls along a straight line, slowly, with the same gradient.

    Only the beginning of a model's life can say this: later, every loss falls slowly and nearly straight.
    """
    stretch = observed.stretches[0] if observed.stretches else None
    if stretch is None or stretch.first_step > 1:
        return TooLittle(missing="the first steps of the model's life are not among the newest")
    stretch = _at_full_rate(stretch.after_warmup())
    if len(stretch.steps) < LEAST_STEPS_LOW:
        return TooLittle(missing=f"its first file has no {LEAST_STEPS_LOW} steps at the full learning rate")
    if observed.last_step > stretch.last_step and _newest_rate(observed) > _rate(stretch) / NEARLY_ALL:
        return Nothing(read="the model's first file; the learning rate was raised since")
    descent = _descent(stretch)
    if not descent.is_slow:
        return Nothing(read=f"{len(stretch.steps):,} steps of {stretch.name}, the model's first file")
    return _too_low(stretch, descent)


def _at_full_rate(stretch: Stretch) -> Stretch:
    """Return the steps until the rate is at half: a schedule that ends lower lets every loss slow down."""
    half = _rate(stretch) / 2
    kept = [step for step in stretch.steps if step.learning_rate >= half]
    return Stretch(job_id=stretch.job_id, name=stretch.name, steps=kept)


def _newest_rate(observed: Observations) -> float:
    return max(step.learning_rate for step in observed.stretches[-1].steps)


def _descent(stretch: Stretch) -> Descent:
    blocks = block_medians(stretch.losses, BLOCKS_LOW)
    per_block = slope(blocks)
    middle = median(blocks)
    start = middle - per_block * (BLOCKS_LOW - 1) / 2
    end = middle + per_block * (BLOCKS_LOW - 1) / 2
    first_slope, second_slope = slope(blocks[: BLOCKS_LOW // 2]), slope(blocks[BLOCKS_LOW // 2 :])
    norms = [step.grad_norm for step in stretch.steps if step.grad_norm is not None]
    quarters = block_medians(norms, 4) if len(norms) >= LEAST_STEPS_LOW else [1.0, 1.0]
    return Descent(
        level=end,
        fall=(start - end) / start if start > 0 else 0.0,
        per_step=-per_block * BLOCKS_LOW / len(stretch.steps),
        tau=rank_trend(blocks),
        straightness=second_slope / first_slope if first_slope < 0 else 0.0,
        norm_change=quarters[-1] / quarters[0] - 1 if quarters[0] > 0 else 0.0,
    )


def _too_low(stretch: Stretch, descent: Descent) -> Finding:
    rate, steps = _rate(stretch), len(stretch.steps)
    to_halve = descent.level / 2 / descent.per_step
    return Finding(
        illness=Illness.RATE_TOO_LOW,
        seen=(
            f"the loss of {stretch.name} falls along a straight line, by {descent.fall:.1%} in {steps:,} "
            "steps, and the gradient stays as it is"
        ),
        evidence=(
            Measure(what="fall", value=100 * descent.fall, unit="percent"),
            Measure(what="slope of the second half by the first", value=descent.straightness, unit=""),
            Measure(what="change of the gradient norm", value=100 * descent.norm_change, unit="percent"),
            Measure(what="learning rate", value=rate, unit=""),
        ),
        series=series_of("training loss", NATS, _loss_points(stretch)),
        costs=f"at this pace it takes {to_halve:,.0f} more steps to halve the loss",
        cost=Measure(what="steps to halve the loss", value=to_halve, unit="steps"),
        changes=(
            Change(
                text="goes further with each step",
                setting="training.learning_rate",
                now=rate,
                suggested=float(f"{min(FASTER * rate, 0.5):.2g}"),
            ),
        ),
    )
