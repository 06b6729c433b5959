"""Count what the steps of a file contain, and take a few of them to measure speed and memory."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from trainer.protocol.dry_run import TrialSteps
from trainer.step.device_memory import Meter
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle
from trainer.step.forward import Forward

ORDINARY_STEPS = 3
TIME_LIMIT_S = 20.0


@dataclass
class StepStatistics:
    """What the steps of a file hold."""

    forward: Forward
    """Splits a step into micro-batches."""
    steps: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    micro_batches: int = 0
    padded_tokens: int = 0
    """Tokens that go through the model, padding included."""
    ordinary: list[StepBundle] = field(default_factory=list)
    """The first steps."""
    largest: list[StepBundle] = field(default_factory=list)
    """The one with the largest micro-batch; empty before the first."""
    largest_tokens: int = 0

    def add(self, bundle: StepBundle) -> None:
        """Count one more step."""
        groups = self.forward.split(bundle.examples, max_tokens=bundle.micro_batch_tokens)
        sizes = [self.forward.size_of(group) for group in groups]
        self.steps += 1
        self.tokens += tokens_of(bundle)
        self.supervised_tokens += bundle.num_items
        self.micro_batches += len(groups)
        self.padded_tokens += sum(sizes)
        if len(self.ordinary) < ORDINARY_STEPS:
            self.ordinary.append(bundle)
        if (largest := max(sizes, default=0)) > self.largest_tokens:
            self.largest, self.largest_tokens = [bundle], largest

    @property
    def padding_fraction(self) -> float:
        return 1 - self.tokens / self.padded_tokens

    @property
    def micro_batches_per_step(self) -> float:
        return self.micro_batches / self.steps


def collect_statistics(bundles: Iterable[StepBundle], forward: Forward) -> StepStatistics:
    """Count all steps. Memory stays flat."""
    found = StepStatistics(forward)
    for bundle in bundles:
        found.add(bundle)
    return found


def tokens_of(bundle: StepBundle) -> int:
    """Return the tokens of a step, padding left out."""
    return sum(len(example.token_ids) for example in bundle.examples)


def take_trial_steps(
    trainer: FeedingTrainer,
    found: StepStatistics,
    *,
    meter: Meter,
    clock: Callable[[], float] = time.perf_counter,
) -> TrialSteps:
    """Take the largest step twice, then ordinary ones for a while. The trainer is of no use afterwards.

    The first step creates the optimizer's state, and the second has its peak beside it. The speed is that of
    the ordinary steps, or of the second one if there was no time for them.
    """
    taken: list[tuple[int, float]] = []
    meter.reset()

    def bundles() -> Iterator[StepBundle]:
        started_at = clock()
        for number, bundle in enumerate([*found.largest, *found.largest, *found.ordinary]):
            started = clock()
            if number >= 2 and started - started_at > TIME_LIMIT_S:
                return
            yield bundle
            taken.append((tokens_of(bundle), clock() - started))

    trainer.feed(bundles())
    counted = taken[2:] or taken[1:]
    return TrialSteps(
        steps=len(counted),
        tokens_per_s=sum(tokens for tokens, _ in counted) / sum(seconds for _, seconds in counted),
        peak_bytes=meter.peak_bytes(),
    )
