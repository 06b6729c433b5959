"""Find by measuring how many tokens should go through the model at once. No optimizer step is taken.

Weights, optimizer and random numbers are the same afterwards, to the bit.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from trainer.checkpoints.training_state import random_state, restore_random
from trainer.config.schema import Settings
from trainer.data.rendering.render import Example
from trainer.protocol.faults import is_out_of_memory
from trainer.session.batch_size_store import Key
from trainer.step.device_memory import Meter, meter_for
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle

FIRST_TOKENS = 256
MOST_TOKENS = {"cpu": 16_384, "cuda": 131_072}
TIME_LIMIT_S = {"cpu": 10.0, "cuda": 60.0}
SAFE_SHARE = {"cpu": 0.5, "cuda": 0.9}  # of the memory that is left; a machine's is others' too
SHORT_ROW = 64  # tokens
REPETITIONS = 4  # the fastest counts: whatever disturbs a measurement makes it slower
LONG_ENOUGH_S = 1.0  # beyond this nothing is repeated
WORTHWHILE_GAIN = 1.03
AVERAGES_OF_OPTIMIZER = 2  # of each trained weight; other optimizers than AdamW keep less

Speeds = Mapping[int, float]
"""Tokens of a row -> tokens per second with such rows."""


@dataclass(frozen=True)
class NotWorthwhile:
    """So many tokens are not to be used."""

    reason: str
    """To be read after "8,192 tokens"."""


@dataclass(frozen=True)
class BatchSizeChoice:
    """The number of tokens that was found."""

    tokens: int
    reason: str


def choose_batch_size(
    attempt: Callable[[int], Speeds | NotWorthwhile], *, most_tokens: int
) -> BatchSizeChoice:
    """Double the tokens for as long as that makes training faster.

    Args:
        attempt: measures with so many tokens at once.
    """
    best = tokens = FIRST_TOKENS
    best_speeds = attempt(tokens)
    if isinstance(best_speeds, NotWorthwhile):
        return BatchSizeChoice(best, f"even {best:,} {best_speeds.reason}")
    while (tokens := 2 * tokens) <= most_tokens:
        speeds = attempt(tokens)
        if isinstance(speeds, NotWorthwhile):
            return BatchSizeChoice(best, f"{tokens:,} {speeds.reason}")
        if _gain(speeds, best_speeds) > WORTHWHILE_GAIN:
            best, best_speeds = tokens, speeds
        elif tokens > 2 * best:  # once may be chance, on a machine that has other things to do
            return BatchSizeChoice(best, f"{tokens:,} are not faster")
    return BatchSizeChoice(best, "more are not tried")


def _gain(speeds: Speeds, before: Speeds) -> float:
    """Return how many times as fast it has become, on average over the rows measured both times."""
    gains = [speeds[length] / before[length] for length in speeds if length in before]
    return sum(gains) / len(gains)


class Probe:
    """Measures forward and backward passes of made-up rows.

    Args:
        max_length: tokens of the longest row.
        processes: share each step; on a CPU also the memory, of which each will need as much.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        trainer: FeedingTrainer,
        *,
        max_length: int,
        meter: Meter,
        processes: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._trainer = trainer
        self._device = trainer.args.device
        self._lengths = sorted({min(SHORT_ROW, max_length), max_length})
        self._meter = meter
        # Each process has a GPU of its own
        self._safe_share = SAFE_SHARE[self._device.type] / (processes if self._device.type == "cpu" else 1)
        self._clock = clock
        self._deadline = clock() + TIME_LIMIT_S[self._device.type]
        self._bytes_per_token = 0.0
        self._seconds_per_token = 0.0

    def attempt(self, tokens: int) -> Speeds | NotWorthwhile:
        """Return the speeds with `tokens` at once, unless that would take too much memory or time."""
        lengths = [length for length in self._lengths if length <= tokens] or self._lengths[:1]
        needed = self._bytes_per_token * tokens + self._optimizer_to_come()
        if needed > self._safe_share * self._meter.room_bytes():
            return NotWorthwhile(f"would take {needed / 2**30:.1f} GiB more memory than is safe to take")
        if self._clock() + self._seconds_per_token * tokens * len(lengths) > self._deadline:
            return NotWorthwhile("would take too long to measure")
        try:
            return {length: self._speed(length, tokens // length) for length in lengths}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._trainer.free_memory(self._trainer.model)
        return NotWorthwhile("do not fit into memory")

    def _speed(self, length: int, rows: int) -> float:
        bundle = made_up_step(self._trainer, length=length, rows=max(1, rows))
        tokens = length * len(bundle.examples)
        if not self._seconds_per_token:
            self._take(bundle)  # the first of all also makes room for the gradient
        self._meter.reset()
        used = self._meter.used_bytes()
        seconds = [self._take(bundle)]
        while len(seconds) < REPETITIONS and sum(seconds) < LONG_ENOUGH_S:
            seconds.append(self._take(bundle))
        self._bytes_per_token = max(self._bytes_per_token, (self._meter.peak_bytes() - used) / tokens)
        self._seconds_per_token = max(seconds) / tokens
        return tokens / min(seconds)

    def _take(self, bundle: StepBundle) -> float:
        started = self._clock()
        loss = self._trainer.gradient(self._trainer.model, bundle)
        loss.item()  # a GPU computes behind our back
        return self._clock() - started

    def _optimizer_to_come(self) -> int:
        """Return the bytes that the first optimizer step will take and keep."""
        if self._trainer.optimizer.state:
            return 0
        weights = (weight for weight in self._trainer.model.parameters() if weight.requires_grad)
        return AVERAGES_OF_OPTIMIZER * sum(weight.nbytes for weight in weights)


def measure_best_batch_size(
    trainer: FeedingTrainer,
    *,
    max_length: int,
    processes: int = 1,
    tell: Callable[[int], None] = lambda tokens: None,
) -> BatchSizeChoice:
    """Return the number of tokens that trains fastest here. Leaves everything as it was.

    Args:
        processes: those that will share each step; this one measures alone.
        tell: called with each number before it is tried.
    """
    model, device = trainer.model, trainer.args.device
    before, was_training = random_state(), model.training
    longest = _longest_row(trainer, max_length)
    probe = Probe(trainer, max_length=longest, meter=meter_for(device), processes=processes)

    def attempt(tokens: int) -> Speeds | NotWorthwhile:
        tell(tokens)
        return probe.attempt(tokens)

    model.train()
    try:
        return choose_batch_size(attempt, most_tokens=MOST_TOKENS[device.type])
    finally:
        model.train(was_training)
        trainer.free_memory(model)
        restore_random(before)


def _longest_row(trainer: FeedingTrainer, max_length: int) -> int:
    """Return the length of the longest row that the model can read."""
    positions = getattr(trainer.model.config, "max_position_embeddings", None)
    return min(max_length, positions or max_length)


def made_up_step(trainer: FeedingTrainer, *, length: int, rows: int) -> StepBundle:
    """Return a step of one micro-batch of equal rows, every token of which is supervised."""
    vocabulary = len(trainer.processing_class)
    token_ids = [index % vocabulary for index in range(1, length + 1)]
    example = Example(token_ids, token_ids, length - 1, is_truncated=False)
    return StepBundle(
        examples=[example] * rows, num_items=(length - 1) * rows, micro_batch_tokens=length * rows
    )


def batch_size_key(trainer: FeedingTrainer, settings: Settings) -> Key:
    """Return everything that a number found by measuring depends on."""
    training, strategy = settings.training, trainer.forward.strategy
    return {
        "model": shape_sha256(trainer.model),
        "method": training.method,
        "max_length": settings.data.max_length,
        "precision": strategy.precision + (", rounded" if strategy.rounds_weights else ""),
        "device": device_name(trainer.args.device),
        "threads": torch.get_num_threads(),
        "processes": training.processes,
        "activation_checkpointing": training.activation_checkpointing,
        "compile": training.compile,
        "tf32": training.tf32,
        "optimizer": training.optimizer,
    }


def shape_sha256(model: PreTrainedModel) -> str:
    """Return a digest of names, shapes and formats of all weights, and of which are trained."""
    weights = model.named_parameters()
    facts = [(name, tuple(weight.shape), str(weight.dtype), weight.requires_grad) for name, weight in weights]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def device_name(device: torch.device) -> str:
    """Return the kind of GPU, or the instructions of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
