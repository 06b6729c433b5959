"""Spikes: the loss or the gradient norm leaps and comes back."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations, Stretch
from daemon.diagnosis.robust import MAD_TO_SIGMA, median
from trainer.protocol.text import shell_word

RECENT_STEPS = 2_000  # older spikes have cost what they cost
NEIGHBOURS = 15  # steps before and after that say what is usual; odd ones among them do not move a median
LEAST_NEIGHBOURS = 8  # fewer say too little of the noise
LEAST_STEPS = 2 * LEAST_NEIGHBOURS + 1
SIGMAS = 6.0  # normal noise gets there once in a billion steps
LEAST_SIGMA = 0.05  # of a logarithm: a very steady loss would make a spike of any ripple
LOSS_RATIO = 2.0  # as the alert of the worker has it
NORM_RATIO = 5.0  # a gradient norm varies much more than a loss
SAME_SPIKE = 5  # steps: what is closer together is one event
LEAST_SPIKES = 3  # one or two are rows, which the alert of the worker names; illness comes again


@dataclass(frozen=True)
class Spike:
    """One step that leaps."""

    step: int
    value: float
    usual: float
    is_loss: bool

    @property
    def ratio(self) -> float:
        return self.value / self.usual


def find_spikes(observed: Observations) -> Result:
    """Search the newest steps for values far above those before and after them, within one file.

    In logarithms, as the noise of a loss grows with the loss. A value must leave both sides behind: a loss
    that falls at the beginning of a file, or that rises and stays, is no spike.
    """
    recent = observed.steps[-RECENT_STEPS:]
    first = recent[0].global_step if recent else 0
    long_enough = [found for found in observed.stretches if len(found.steps) >= LEAST_STEPS]
    stretches = [found for found in long_enough if found.last_step >= first]
    if not stretches:
        return TooLittle(missing=f"no file has {LEAST_STEPS} steps in a row")
    spikes = sorted(
        (spike for stretch in stretches for spike in _spikes_in(stretch) if spike.step >= first),
        key=lambda spike: spike.step,
    )
    events = _events(spikes)
    if len(events) < LEAST_SPIKES:
        return Nothing(read=f"loss and gradient norm of {len(recent):,} steps")
    return _finding(observed, stretches, events, len(recent))


def _spikes_in(stretch: Stretch) -> Iterator[Spike]:
    steps = stretch.steps[-RECENT_STEPS - NEIGHBOURS :]
    losses = stretch.losses[-RECENT_STEPS - NEIGHBOURS :]
    numbers = [step.global_step for step in steps]
    for place, usual in _leaps(losses, LOSS_RATIO):
        yield Spike(numbers[place], losses[place], usual, is_loss=True)
    norms = [step.grad_norm for step in steps]
    known = [norm for norm in norms if norm is not None]
    if len(known) == len(norms):
        for place, usual in _leaps(known, NORM_RATIO):
            yield Spike(numbers[place], known[place], usual, is_loss=False)


def _leaps(values: Sequence[float], least_ratio: float) -> Iterator[tuple[int, float]]:
    """Yield the places of values that leap, and what is usual there."""
    logs = [math.log(max(value, 1e-12)) for value in values]
    for place in range(LEAST_NEIGHBOURS, len(logs) - LEAST_NEIGHBOURS):
        before = logs[max(0, place - NEIGHBOURS) : place]
        after = logs[place + 1 : place + 1 + NEIGHBOURS]
        usual = max(median(before), median(after))
        leap = logs[place] - usual
        if leap < math.log(least_ratio):
            continue
        middles = [abs(value - median(side)) for side in (before, after) for value in side]
        if leap > SIGMAS * max(LEAST_SIGMA, MAD_TO_SIGMA * median(middles)):
            yield place, math.exp(usual)


def _events(spikes: Sequence[Spike]) -> list[Spike]:
    """Return the highest leap of each group of neighbouring ones; a loss counts more than a norm."""
    groups: list[list[Spike]] = []
    for spike in spikes:
        if groups and spike.step - groups[-1][-1].step <= SAME_SPIKE:
            groups[-1].append(spike)
        else:
            groups.append([spike])
    return [max(group, key=lambda spike: (spike.is_loss, spike.ratio)) for group in groups]


def _finding(
    observed: Observations, stretches: Sequence[Stretch], events: Sequence[Spike], num_steps: int
) -> Finding:
    highest = max(events, key=lambda spike: (spike.is_loss, spike.ratio))
    what = "loss" if highest.is_loss else "gradient norm"
    stretch = next(found for found in stretches if found.first_step <= highest.step <= found.last_step)
    around = [step for step in stretch.steps if abs(step.global_step - highest.step) < 2 * NEIGHBOURS]
    values = [
        (step.global_step, value)
        for step in around
        if (value := step.loss if highest.is_loss else step.grad_norm) is not None
    ]
    every = num_steps / len(events)
    return Finding(
        illness=Illness.SPIKES,
        seen=(
            f"the {what} has leapt {len(events):,} times in the newest {num_steps:,} steps, at most "
            f"{highest.ratio:.1f}-fold at step {highest.step:,} ({stretch.name})"
        ),
        evidence=(
            Measure(what="leaps", value=len(events), unit=f"in {num_steps:,} steps"),
            Measure(what=f"{what} at the highest one", value=highest.value, unit=_unit(highest)),
            Measure(what=f"usual {what} there", value=highest.usual, unit=_unit(highest)),
        ),
        series=series_of(f"{what} around step {highest.step:,}", _unit(highest), values),
        costs=f"a leap every {every:,.0f} steps; each moves the weights by gradients that are not typical",
        cost=Measure(what="steps that leap", value=100 * len(events) / num_steps, unit="percent"),
        changes=(*_clipping(observed, stretch), _rows(stretch)),
    )


def _unit(spike: Spike) -> str:
    return "nats per token" if spike.is_loss else ""


def _clipping(observed: Observations, stretch: Stretch) -> Iterator[Change]:
    norms = [step.grad_norm for step in stretch.steps if step.grad_norm is not None]
    limit = float(observed.trained_with(stretch.job_id, "training", "max_grad_norm"))
    usual = float(f"{median(norms):.1g}") if norms else 0.0
    if usual and (not limit or limit > 2 * usual):
        yield Change(
            text=f"clips gradients near their usual norm, {usual:g}, so that one step cannot do much",
            setting="training.max_grad_norm",
            now=limit,
            suggested=usual,
        )
        return
    rate = float(observed.trained_with(stretch.job_id, "training", "learning_rate"))
    yield Change(
        text="halves how far each step goes",
        setting="training.learning_rate",
        now=rate,
        suggested=rate / 2,
    )


def _rows(stretch: Stretch) -> Change:
    return Change(
        text="shows what is odd in the rows of this file",
        command=f"training_data report {shell_word(stretch.name)}",
    )
