"""Overfitting: the validation loss rises while the training loss falls."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations, Stretch
from daemon.diagnosis.robust import block_medians, median, median_error, noise, parts_of, rank_trend, smoothed
from trainer.protocol.text import duration_text

LEAST_VALIDATIONS = 6  # within one file: three on each side of the best
SINCE_BEST = 3  # validations that must follow the best
RISE = 0.03  # of the validation loss: less is not worth a person's time
SIGMAS = 4.0  # of the noise from one validation to the next
RISING = 0.6  # Kendall's tau since the best: four of five pairs rise
TREND_POINTS = 100  # at most: each is compared with each
LEAST_STEPS = 30  # of training since the best, in three parts
FALL = 0.03  # of the training loss
ERRORS = 3.0  # standard errors


@dataclass(frozen=True)
class Rise:
    """A validation loss that rises after its best."""

    best: float
    best_step: int
    now: float
    fall: float
    """Of the training loss over the same steps, relative."""


def find_overfitting(observed: Observations) -> Result:
    """Search the newest file with enough validations for a best one that lies behind it.

    Within one file only: after a change of files, a validation loss may rise because the new one is of
    another kind, which is forgetting. The rows of the validation file are always the same, so its loss is
    compared with itself.
    """
    if observed.settings.validation.file is None and not observed.validations:
        return TooLittle(missing="no validation file is set (validation.file)")
    points = _comparable(observed)
    for stretch in observed.stretches[::-1]:
        inside = [(step, loss) for step, loss in points if stretch.first_step <= step <= stretch.last_step]
        if len(inside) >= LEAST_VALIDATIONS:
            break
    else:
        return TooLittle(
            missing=f"no file has {LEAST_VALIDATIONS} validations; validation.interval_steps is "
            f"{observed.settings.validation.interval_steps:,}"
        )
    rise = _rise(inside, stretch)
    if rise is None:
        return Nothing(read=f"{len(inside):,} validations of {stretch.name}")
    return _finding(observed, stretch, inside, rise)


def _comparable(observed: Observations) -> list[tuple[int, float]]:
    """Return the losses of the same rows and the same weights as the newest one."""
    if not observed.validations:
        return []
    newest = observed.validations[-1]
    found = [
        (item.global_step, item.loss if item.weights == newest.weights else item.other_loss)
        for item in observed.validations
        if item.rows == newest.rows
    ]
    return [(step, loss) for step, loss in found if loss is not None and math.isfinite(loss)]


def _rise(points: Sequence[tuple[int, float]], stretch: Stretch) -> Rise | None:
    losses = [loss for _, loss in points]
    smooth = smoothed(losses)
    place = min(range(len(smooth)), key=smooth.__getitem__)
    since = losses[place:]
    points_since = block_medians(since, TREND_POINTS) if len(since) > TREND_POINTS else since
    if place == 0 or len(since) <= SINCE_BEST:
        return None
    best, now = smooth[place], median(losses[-SINCE_BEST:])
    rise = now - best
    if rise < RISE * best or rise < SIGMAS * noise(losses) or rank_trend(points_since) < RISING:
        return None
    best_step, _ = min(points[place - 1 : place + 2], key=lambda point: point[1])
    fall = _fall(stretch, best_step, points[-1][0])
    return None if fall is None else Rise(best=best, best_step=best_step, now=now, fall=fall)


def _fall(stretch: Stretch, after: int, until: int) -> float | None:
    """Return how far the training loss fell between two steps, relative; None if it did not for certain."""
    losses = [step.loss for step in stretch.between(after, until) if step.loss is not None]
    if len(losses) < LEAST_STEPS:
        return None
    first, _, last = parts_of(losses, 3)
    fall = median(first) - median(last)
    error = 2 * median_error(noise(losses), len(last))
    return fall / median(first) if fall > max(ERRORS * error, FALL * median(first)) else None


def _finding(
    observed: Observations, stretch: Stretch, points: Sequence[tuple[int, float]], rise: Rise
) -> Finding:
    lost = points[-1][0] - rise.best_step
    seconds = sum(step.seconds for step in stretch.between(rise.best_step, points[-1][0]))
    nats = "nats per token"
    return Finding(
        illness=Illness.OVERFITTING,
        seen=(
            f"since step {rise.best_step:,} the validation loss rises, from {rise.best:.3g} to "
            f"{rise.now:.3g}, while the training loss of {stretch.name} falls by {rise.fall:.0%}"
        ),
        evidence=(
            Measure(what="validation loss at its best", value=rise.best, unit=nats),
            Measure(what="validation loss now", value=rise.now, unit=nats),
            Measure(what="fall of the training loss since", value=100 * rise.fall, unit="percent"),
        ),
        series=series_of("validation loss", nats, points),
        costs=(
            f"{lost:,} steps ({duration_text(seconds)}) have made the model worse on what it was not trained "
            f"on, by {rise.now / rise.best - 1:.0%}"
        ),
        cost=Measure(what="steps since the best validation", value=lost, unit="steps"),
        changes=tuple(_changes(observed, stretch, rise)),
    )


def _changes(observed: Observations, stretch: Stretch, rise: Rise) -> Iterator[Change]:
    epochs = observed.trained_with(stretch.job_id, "training", "epochs")
    best = _passes_until(observed, stretch, rise.best_step)
    if best and best < epochs:
        yield Change(
            text=f"ends where the validation loss was best, after about {best} of {epochs} passes",
            setting="training.epochs",
            now=epochs,
            suggested=best,
        )
    else:
        rate = observed.trained_with(stretch.job_id, "training", "learning_rate")
        yield Change(
            text="memorizes rows more slowly", setting="training.learning_rate", now=rate, suggested=rate / 2
        )
    yield Change(
        text="shows what going back to before that would undo",
        command=f"training_models rollback --steps {observed.last_step - rise.best_step} --dry-run",
    )


def _passes_until(observed: Observations, stretch: Stretch, global_step: int) -> int | None:
    """Return how often the file was passed over up to a step, at least once; None if its rows are unknown."""
    content = observed.content_of(stretch.job_id)
    if content is None or not content.rows:
        return None
    before = [step.rows for step in stretch.steps if step.global_step <= global_step]
    per_step = sum(before) / len(before)
    file_step = stretch.steps[len(before) - 1].file_step
    return max(1, round(file_step * per_step / content.rows))
