"""How many tokens go through the model at once is measured, and nothing is changed by measuring."""

import copy
from typing import Any

import pytest
import torch

from tests.support import FakeClock
from trainer.checkpoints.training_state import random_state
from trainer.config.schema import Settings
from trainer.session import batch_size_finder as fit
from trainer.session.batch_size_finder import (
    BatchSizeChoice,
    NotWorthwhile,
    Probe,
    batch_size_key,
    choose_batch_size,
    measure_best_batch_size,
)

MIB = 1 << 20


def attempts(speeds: dict[int, Any]) -> Any:
    """Return measurements as they were prepared; one that was not prepared fails the test."""
    return lambda tokens: speeds[tokens]


@pytest.mark.parametrize("gain, chosen", [(1.0, 256), (1.03, 256), (1.04, 512)])
def test_more_tokens_are_taken_only_where_that_is_worth_it(gain, chosen):
    speeds = {256: {64: 100.0}} | {tokens: {64: 100.0 * gain} for tokens in (512, 1024, 2048)}

    choice = choose_batch_size(attempts(speeds), most_tokens=4096)

    assert choice == BatchSizeChoice(chosen, f"{4 * chosen:,} are not faster")


def test_one_measurement_that_was_disturbed_does_not_end_the_search():
    speeds = {256: {64: 100.0}, 512: {64: 90.0}, 1024: {64: 150.0}}

    assert choose_batch_size(attempts(speeds), most_tokens=1024).tokens == 1024


def test_tokens_that_do_not_fit_are_not_chosen():
    speeds = {256: {64: 100.0}, 512: {64: 200.0}, 1024: NotWorthwhile("do not fit into memory")}

    choice = choose_batch_size(attempts(speeds), most_tokens=4096)

    assert choice == BatchSizeChoice(512, "1,024 do not fit into memory")


def test_the_fewest_are_chosen_when_not_even_they_fit():
    choice = choose_batch_size(attempts({256: NotWorthwhile("do not fit into memory")}), most_tokens=4096)

    assert choice == BatchSizeChoice(256, "even 256 do not fit into memory")


def test_no_more_than_the_ceiling_is_tried():
    speeds = {256: {64: 100.0}, 512: {64: 200.0}}

    assert choose_batch_size(attempts(speeds), most_tokens=1023) == BatchSizeChoice(512, "more are not tried")


def test_rows_of_all_lengths_that_were_measured_before_count_alike():
    speeds = {
        256: {64: 100.0},
        512: {64: 110.0, 512: 1.0},
        1024: {64: 110.0, 512: 1.2},
        2048: {64: 1, 512: 1},
    }

    assert choose_batch_size(attempts(speeds), most_tokens=2048).tokens == 1024


# ---- with a model


class FakeMeter:
    """Memory of a fixed size, of which each measurement takes the same."""

    def __init__(self, *, room_bytes: int, peak_bytes: int = 0) -> None:
        self._room, self._peak = room_bytes, peak_bytes

    def reset(self) -> None:
        pass

    def used_bytes(self) -> int:
        return 0

    def peak_bytes(self) -> int:
        return self._peak

    def room_bytes(self) -> int:
        return self._room


def probe_of(trainer: Any, *, clock: Any = None, **memory: int) -> Probe:
    meter = FakeMeter(**({"room_bytes": 1 << 40} | memory))
    return Probe(trainer, max_length=128, meter=meter, clock=clock or FakeClock())


class Ticking(FakeClock):
    """A clock on which every look takes a while."""

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def test_short_and_long_rows_are_measured(make_trainer):
    probe = probe_of(make_trainer(device="cpu"), clock=Ticking())

    speeds = probe.attempt(256)

    assert speeds == {64: 256 / 0.25, 128: 256 / 0.25}


def test_what_would_take_more_than_half_of_the_free_memory_is_not_tried(make_trainer, monkeypatch):
    trainer = make_trainer(device="cpu")
    monkeypatch.setattr(trainer, "optimizer", torch.optim.SGD([torch.zeros(1)]))
    monkeypatch.setattr(fit, "AVERAGES_OF_OPTIMIZER", 0)
    probe = probe_of(trainer, clock=Ticking(), room_bytes=3 * MIB, peak_bytes=MIB)

    assert not isinstance(probe.attempt(256), NotWorthwhile)
    assert probe.attempt(512) == NotWorthwhile("would take 0.0 GiB more memory than is safe to take")


def test_room_is_left_for_an_optimizer_that_has_taken_no_step(make_trainer):
    trainer = make_trainer(device="cpu")
    moments = 2 * sum(weight.nbytes for weight in trainer.model.parameters())

    refused = probe_of(trainer, room_bytes=2 * moments - 2).attempt(256)
    tried = probe_of(trainer, room_bytes=2 * moments + 2, clock=Ticking()).attempt(256)

    assert isinstance(refused, NotWorthwhile)
    assert not isinstance(tried, NotWorthwhile)


@pytest.mark.parametrize("processes, is_tried", [(1, True), (2, True), (3, False)])
def test_processes_on_a_cpu_share_its_memory(make_trainer, processes, is_tried):
    trainer = make_trainer(device="cpu")
    moments = 2 * sum(weight.nbytes for weight in trainer.model.parameters())
    meter = FakeMeter(room_bytes=2 * 2 * moments + 4)
    probe = Probe(trainer, max_length=128, meter=meter, processes=processes, clock=Ticking())

    assert isinstance(probe.attempt(256), NotWorthwhile) != is_tried


def test_what_would_take_too_long_is_not_tried(make_trainer):
    clock = Ticking()
    probe = probe_of(make_trainer(device="cpu"), clock=clock)
    probe.attempt(256)
    clock.now += fit.TIME_LIMIT_S["cpu"]

    assert probe.attempt(512) == NotWorthwhile("would take too long to measure")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_running_out_of_memory_is_an_answer(make_trainer, monkeypatch, error):
    trainer = make_trainer(device="cpu")

    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr(trainer.model.get_decoder(), "forward", fail)

    assert probe_of(trainer).attempt(256) == NotWorthwhile("do not fit into memory")


def test_other_errors_are_passed_on(make_trainer, monkeypatch):
    trainer = make_trainer(device="cpu")
    monkeypatch.setattr(trainer.model.get_decoder(), "forward", lambda **named: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        probe_of(trainer).attempt(256)


def test_measuring_changes_no_bit(make_trainer, monkeypatch):
    trainer = make_trainer(device="cpu")
    monkeypatch.setitem(fit.MOST_TOKENS, "cpu", 512)
    trainer.model.eval()
    before = copy.deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict(), random_state()))
    told: list[int] = []

    choice = measure_best_batch_size(trainer, max_length=128, tell=told.append)

    weights, optimizer, random = before
    assert choice.tokens in (256, 512)
    assert told == [256, 512]
    assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.optimizer.state_dict() == optimizer
    assert torch.equal(random_state()["torch"], random["torch"])
    assert all(weight.grad is None for weight in trainer.model.parameters())
    assert not trainer.model.training


def test_the_key_names_what_speed_and_memory_depend_on(make_trainer):
    trainer = make_trainer(device="cpu")
    keys = [
        batch_size_key(trainer, Settings.model_validate(sections))
        for sections in (
            {},
            {"data": {"max_length": 64}},
            {"training": {"activation_checkpointing": "on"}},
            {"training": {"tf32": True}},
            {"training": {"processes": 2}},
        )
    ]

    trainer.model.lm_head.weight.requires_grad_(False)
    keys.append(batch_size_key(trainer, Settings()))

    assert len({repr(key) for key in keys}) == 6
