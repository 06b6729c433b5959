"""Threads spin while they have the processors for themselves, and hardly while other programs want them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.support import FakeClock, eventually
from tests.trainer.step_rig import bundle
from trainer.step.crowding import (
    Crowding,
    IdleTeams,
    crowding_of_process,
    num_idle_teams,
    used_by_all,
)

ALONE, BETWEEN, BESIDE = 0.05, 0.15, 0.5


class Rig:
    """Two threads that compute on two processors, and what is done with their idle teams."""

    def __init__(self, *, num_processors: int = 2) -> None:
        self.clock = FakeClock()
        self.used_by_others = 500.0
        self.done: list[str] = []
        self.crowding = Crowding(
            2, num_processors, self, used_by_others=lambda: self.used_by_others, clock=self.clock
        )

    def hold(self) -> None:
        self.done.append("hold")

    def release(self) -> None:
        self.done.append("release")

    def sample(self, *uses: float, seconds: float = 1) -> list[str]:
        """Let others use so many processors for some seconds, once for each; return what is done."""
        self.done = []
        for used in uses:
            self.used_by_others += used * seconds
            self.clock.now += seconds
            self.crowding.sample()
        return self.done


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def two_threads(set_threads: Callable[[int], None]) -> None:
    set_threads(2)


def threads_now() -> set[str]:
    return set(os.listdir("/proc/self/task"))


@pytest.mark.parametrize(
    "uses, done",
    [
        ([ALONE] * 10, []),
        ([BETWEEN] * 10, []),
        ([BESIDE], []),
        ([BESIDE, BETWEEN, BESIDE], []),
        ([BESIDE, BESIDE], ["hold"]),
        ([BESIDE] * 10, ["hold"]),
    ],
)
def test_idle_teams_are_held_after_two_crowded_seconds(rig, uses, done):
    assert rig.sample(*uses) == done


@pytest.mark.parametrize(
    "uses, done",
    [
        ([BETWEEN] * 10, []),
        ([ALONE] * 4, []),
        ([ALONE] * 4 + [BETWEEN] + [ALONE] * 4, []),
        ([ALONE] * 5, ["release"]),
        ([ALONE] * 5 + [BESIDE] * 2, ["release", "hold"]),
    ],
)
def test_idle_teams_are_released_after_five_calm_seconds(rig, uses, done):
    rig.sample(BESIDE, BESIDE)

    assert rig.sample(*uses) == done


def test_no_sample_is_taken_within_a_second(rig):
    assert rig.sample(*[BESIDE] * 9, seconds=0.1) == []


def test_a_sample_covers_the_whole_time_since_the_last(rig):
    assert rig.sample(BESIDE, BESIDE, seconds=90) == ["hold"]


def test_others_may_use_the_processors_that_our_threads_leave():
    rig = Rig(num_processors=4)

    assert rig.sample(2.1, 2.1) == []
    assert rig.sample(2.5, 2.5) == ["hold"]
    assert rig.sample(*[2.05] * 5) == ["release"]


def test_idle_teams_end_with_training_and_may_come_back(rig):
    rig.sample(BESIDE, BESIDE)

    rig.done = []
    rig.crowding.end()

    assert rig.done == ["release"]
    assert rig.sample(BESIDE, BESIDE) == ["hold"]


@pytest.mark.parametrize(
    "num_threads, num_processors", [(2, 2), (3, 2), (2, 4), (3, 4), (4, 4), (16, 64), (64, 64)]
)
def test_with_idle_teams_there_are_more_threads_than_processors(num_threads, num_processors):
    number = num_idle_teams(num_threads, num_processors=num_processors)

    assert num_threads + number * (num_threads - 1) > num_processors
    assert number == 0 or num_threads + (number - 1) * (num_threads - 1) <= num_processors


def test_an_idle_team_has_as_many_threads_as_compute_until_it_is_released(two_threads):
    teams, before = IdleTeams(3), threads_now()

    teams.hold()

    eventually(lambda: len(threads_now() - before) == 3 * 2)
    teams.release()
    eventually(lambda: not threads_now() - before)


def test_idle_teams_change_no_result(two_threads):
    values = torch.randn(400_000, generator=torch.Generator().manual_seed(1))
    teams, before = IdleTeams(1), threads_now()

    with ThreadPoolExecutor(max_workers=1) as executor:  # of its own, as this process may be a fork
        alone = executor.submit(values.sum).result()
        teams.hold()
        eventually(lambda: len(threads_now() - before) == 2 * 2)
        beside = executor.submit(values.sum).result()
        teams.release()

    assert torch.equal(alone, beside)


@pytest.mark.parametrize("processors, is_worth_it", [(1, False), (2, True), (17, True), (18, False)])
def test_there_is_no_watch_where_idle_teams_change_nothing_or_are_too_many(
    two_threads, monkeypatch, processors, is_worth_it
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))

    assert (crowding_of_process() is not None) == is_worth_it


def test_there_is_no_watch_over_a_single_thread(set_threads):
    set_threads(1)

    assert crowding_of_process() is None


def test_what_is_used_is_counted_on_our_processors_only(tmp_path):
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    stat = tmp_path / "stat"
    stat.write_text("cpu  9 9 9 9\ncpu0 100 20 3 7000 5\ncpu1 50 0 0 0\ncpu10 1000 0 0 0 0\nintr 12 0 0 9\n")

    assert used_by_all({0}, stat) == 123 / ticks_per_s
    assert used_by_all({0, 1, 7}, stat) == 173 / ticks_per_s


def test_a_trainer_samples_before_each_step_until_its_training_ends(make_trainer, monkeypatch):
    done: list[str] = []

    class Watch:
        def sample(self) -> None:
            done.append("sample")

        def end(self) -> None:
            done.append("end")

    monkeypatch.setattr("trainer.step.feeding_trainer.crowding_of_process", Watch)
    trainer = make_trainer(device="cpu")

    trainer.feed(iter([bundle(), bundle()]))

    assert done == ["sample", "sample", "end"]
