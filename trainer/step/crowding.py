"""Have torch's threads wait without spinning while other programs take the processors from them.

Threads that compute together wait for each other by spinning. Alone, nothing is faster. Beside other
programs, a thread that spins keeps the very thread that it waits for from a processor. libgomp, the OpenMP of
torch's builds for Linux, hardly spins while it manages more threads than there are processors. So at such
times it gets more: teams that compute nothing. The threads that compute stay the same, and so does every
result.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SAMPLE_S = 1.0
CROWDED = 0.1  # the part of its time that each of our threads could have run, but had no processor
CALM = 0.04
CROWDED_SAMPLES = 2
CALM_SAMPLES = 5  # more, because spinning beside others costs more than not spinning alone
MOST_IDLE_TEAMS = 16
ELEMENTS = 65_536  # twice as many as torch leaves to a single thread
TASKS = "/proc/self/task"

Waits = dict[str, int]
"""Thread -> nanoseconds in which it could have run so far, but had no processor."""


class Crowding:
    """Knows whether our threads lack processors, and holds idle teams while they do.

    Args:
        num_threads: that compute; at least 2.
        idle_teams: to be held.
        waits: how long our threads have waited so far.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        num_threads: int,
        idle_teams: "IdleTeams",
        *,
        waits: Callable[[], Waits],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_threads = num_threads
        self._idle_teams = idle_teams
        self._waits = waits
        self._clock = clock
        self._sampled_at = clock()
        self._waits_before = waits()
        self._samples_against = 0
        self._is_crowded = False

    def sample(self) -> None:
        """Take a sample, unless the last one is less than a second old."""
        now = self._clock()
        seconds = now - self._sampled_at
        if seconds < SAMPLE_S:
            return
        waits, before = self._waits(), self._waits_before
        waited_s = sum(waited - before.get(thread, 0) for thread, waited in waits.items()) / 1e9
        self._sampled_at, self._waits_before = now, waits
        self._judge(waited_s / seconds / self._num_threads)

    def _judge(self, share: float) -> None:
        is_against = share < CALM if self._is_crowded else share > CROWDED
        self._samples_against = self._samples_against + 1 if is_against else 0
        if self._samples_against == (CALM_SAMPLES if self._is_crowded else CROWDED_SAMPLES):
            self._change_to(is_crowded=not self._is_crowded)

    def end(self) -> None:
        """Let the threads spin again, until samples say otherwise."""
        self._change_to(is_crowded=False)

    def _change_to(self, *, is_crowded: bool) -> None:
        self._samples_against = 0
        self._is_crowded = is_crowded
        if is_crowded:
            self._idle_teams.hold()
        else:
            self._idle_teams.release()


class IdleTeams:
    """Teams of threads that wait, at no cost, for work that never comes.

    Args:
        number: of teams; each has as many threads as torch computes with.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._released = threading.Event()

    def hold(self) -> None:
        """Have the teams from now on."""
        self._released = threading.Event()
        for _ in range(self._number):
            threading.Thread(target=_lead, args=[self._released], name="idle team", daemon=True).start()

    def release(self) -> None:
        """Let them end, if there are any."""
        self._released.set()


def _lead(released: threading.Event) -> None:
    """Be the first thread of a team, which ends with it."""
    torch.empty(ELEMENTS, dtype=torch.uint8).fill_(0)
    released.wait()


class SampleCrowding(TrainerCallback):
    """Takes the samples between steps."""

    def __init__(self, crowding: Crowding) -> None:
        self._crowding = crowding

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._crowding.sample()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._crowding.end()


def crowding_of_process() -> Crowding | None:
    """Return what watches over this process; None where nothing can be measured or gained."""
    num_threads = torch.get_num_threads()
    if sys.platform != "linux" or num_threads == 1 or not os.path.exists("/proc/self/schedstat"):
        return None
    number = num_idle_teams(num_threads, processors=len(os.sched_getaffinity(0)))
    if not 0 < number <= MOST_IDLE_TEAMS:
        return None
    return Crowding(num_threads, IdleTeams(number), waits=waits_of_threads)


def num_idle_teams(num_threads: int, *, processors: int) -> int:
    """Return how many teams it takes until there are more threads than processors.

    Args:
        num_threads: of the team that computes, at least 2. An idle team adds one less, because libgomp does
            not count the thread that leads it.
    """
    return max(0, (processors - num_threads) // (num_threads - 1) + 1)


def waits_of_threads() -> Waits:
    """Return what the kernel has counted for each thread of this process."""
    found = {}
    for thread in os.listdir(TASKS):
        try:
            with open(f"{TASKS}/{thread}/schedstat", "rb") as file:
                found[thread] = int(file.read().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found
