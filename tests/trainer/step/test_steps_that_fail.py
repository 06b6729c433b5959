"""A step that is not finite leaves no trace; one too large for memory is taken in smaller parts."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainer.engine_rig import CPU_IS_FULL, SmallMemory
from tests.trainer.step_rig import bundle, example
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle


def state_of(trainer: FeedingTrainer) -> Any:
    return copy.deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]))


def is_same(found: Any, expected: Any) -> bool:
    weights, moments = zip(found, expected, strict=True)
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1]) and all(
        torch.equal(moments[0][index][name], value)
        for index, values in moments[1].items()
        for name, value in values.items()
    )


def spoil_loss(trainer: FeedingTrainer, factor: float) -> Callable[[], None]:
    """Have every loss multiplied; return what ends that."""

    def scale(module: Any, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * factor
        return output

    return trainer.model.get_decoder().register_forward_hook(scale).remove


def spoil_gradient(trainer: FeedingTrainer, factor: float) -> Callable[[], None]:
    """Have one tensor's gradient multiplied, with the loss as it is; return what ends that."""
    return trainer.model.lm_head.weight.register_hook(lambda gradient: gradient * factor).remove


SPOILERS = [
    (spoil_loss, math.nan, "the loss is nan"),
    (spoil_gradient, math.inf, "the gradient is "),
    (spoil_gradient, math.nan, "the gradient is nan"),
]


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.parametrize("spoil, factor, reason", SPOILERS)
def test_a_step_that_is_not_finite_changes_no_bit(make_trainer, spoil, factor, reason, max_grad_norm):
    trainer = make_trainer(learning_rate=1e-3, warmup_steps=0, weight_decay=0.1, max_grad_norm=max_grad_norm)
    bad = bundle(example(8), example(9), micro_batch_tokens=8)
    states = []

    def bundles():
        yield bundle(step_seed=1)
        states.append(state_of(trainer))
        stop = spoil(trainer, factor)
        yield bad
        stop()
        states.append(state_of(trainer))

    trainer.feed(bundles())

    assert is_same(states[1], states[0])
    assert bad.not_applied.startswith(reason)


def test_the_steps_after_one_that_was_dropped_are_as_if_it_had_not_been(make_trainer):
    with_bad, without = (make_trainer(learning_rate=1e-3, warmup_steps=0) for _ in range(2))
    good = [bundle(step_seed=seed) for seed in (1, 2, 3)]

    def bundles():
        yield good[0]
        stop = spoil_loss(with_bad, math.nan)
        yield bundle(step_seed=9)
        stop()
        yield good[1]
        yield good[2]

    with_bad.feed(bundles())
    without.feed(iter([bundle(step_seed=seed) for seed in (1, 2, 3)]))

    assert is_same(state_of(with_bad), state_of(without))
    assert [one.not_applied for one in good] == [None, None, None]
    assert with_bad.lr_scheduler.last_epoch == 4  # the model's age counts it


def test_the_first_step_of_all_may_be_the_bad_one(make_trainer):
    trainer = make_trainer(learning_rate=1e-3, warmup_steps=0)
    before = state_of(trainer)
    stop = spoil_loss(trainer, math.nan)
    bad = bundle()

    trainer.feed(iter([bad]))
    stop()

    assert bad.not_applied == "the loss is nan"
    assert is_same(state_of(trainer), before)


# ---- memory


def eight_rows(micro_batch_tokens: int = 4096) -> StepBundle:
    rows = [example(length, first_token=300 + length) for length in range(5, 13)]
    return bundle(*rows, micro_batch_tokens=micro_batch_tokens)


OUT_OF_MEMORY = [RuntimeError(CPU_IS_FULL), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_step_too_large_for_memory_is_taken_in_smaller_parts_with_the_same_result(
    make_trainer, monkeypatch, error
):
    told: list[str] = []
    limited, free = make_trainer(learning_rate=1e-3, tell=told.append), make_trainer(learning_rate=1e-3)
    for trainer in (limited, free):
        trainer.model.eval()
        monkeypatch.setattr(trainer.model, "train", lambda mode=True: None)  # noise differs with the parts
    memory = SmallMemory(limited, fits=20, error=error)
    in_parts, whole = eight_rows(), eight_rows()

    limited.feed(iter([in_parts]))
    free.feed(iter([whole]))

    assert float(in_parts.loss) == pytest.approx(float(whole.loss), rel=1e-5)
    assert float(in_parts.grad_norm) == pytest.approx(float(whole.grad_norm), rel=1e-4)
    assert (whole.micro_batch_tokens, in_parts.micro_batch_tokens) == (4096, 15)
    assert memory.asked[:2] == [sum(range(5, 13)), 5 + 6 + 7 + 8]
    assert [text.split(";")[0] for text in told] == [
        "memory was too small for micro-batches of 4096 tokens",
        "memory was too small for micro-batches of 34 tokens",
    ]
    assert in_parts.not_applied is None


def test_every_row_is_in_the_step_that_was_repeated(make_trainer):
    trainer = make_trainer()
    memory = SmallMemory(trainer, fits=12, error=OUT_OF_MEMORY[0])
    taken = eight_rows()

    trainer.feed(iter([taken]))

    assert memory.asked[-8:] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert taken.num_items == sum(length - 1 for length in range(5, 13))


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_when_every_row_goes_alone_already_the_error_is_passed_on(make_trainer, error):
    trainer = make_trainer()
    memory = SmallMemory(trainer, fits=11, error=error)

    with pytest.raises(type(error)) as passed_on:
        trainer.feed(iter([eight_rows()]))

    assert passed_on.value is error
    assert memory.asked[-1] == 12


def test_other_errors_are_passed_on_at_once(make_trainer):
    trainer = make_trainer()
    memory = SmallMemory(trainer, fits=0, error=RuntimeError("CUDA error: device-side assert"))

    with pytest.raises(RuntimeError, match="device-side assert"):
        trainer.feed(iter([eight_rows()]))

    assert len(memory.asked) == 1


def test_progress_is_noted_at_every_micro_batch(make_trainer, monkeypatch):
    trainer = make_trainer()
    ticks: list[int] = []
    monkeypatch.setattr(trainer, "tick", lambda: ticks.append(1))

    trainer.feed(iter([eight_rows(micro_batch_tokens=1)]))

    assert len(ticks) == 8
