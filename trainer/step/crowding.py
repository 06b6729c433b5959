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
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SAMPLE_S = 1.0
CROWDED = 0.1  # the part of a processor that each of our threads lacks while others use it
CALM = 0.05
CROWDED_SAMPLES = 2
CALM_SAMPLES = 5  # more, because spinning beside others costs more than not spinning alone
MOST_IDLE_TEAMS = 16
ELEMENTS = 65_536  # twice as many as torch leaves to a single thread
PROC_STAT = Path("/proc/stat")


class Crowding:
    """Knows whether other programs use processors that our threads need, and holds idle teams while they do.

    Args:
        num_threads: that compute; at least 2.
        num_processors: that they may use.
        idle_teams: to be held.
        used_by_others: seconds of processor time so far.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        num_threads: int,
        num_processors: int,
        idle_teams: "IdleTeams",
        *,
        used_by_others: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_threads = num_threads
        self._num_spare = num_processors - num_threads
        self._idle_teams = idle_teams
        self._used_by_others = used_by_others
        self._clock = clock
        self._last_sample = clock(), used_by_others()
        self._samples_against = 0
        self._is_crowded = False

    def sample(self) -> None:
        """Take a sample, unless the last one is less than a second old."""
        now, (before, used_before) = self._clock(), self._last_sample
        if now - before < SAMPLE_S:
            return
        used = self._used_by_others()
        self._last_sample = now, used
        self._judge(((used - used_before) / (now - before) - self._num_spare) / self._num_threads)

    def _judge(self, lacking: float) -> None:
        is_against = lacking < CALM if self._is_crowded else lacking > CROWDED
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
    if sys.platform != "linux" or num_threads == 1 or not PROC_STAT.exists():
        return None
    processors = os.sched_getaffinity(0)
    number = num_idle_teams(num_threads, num_processors=len(processors))
    if not 0 < number <= MOST_IDLE_TEAMS:
        return None
    return Crowding(
        num_threads,
        len(processors),
        IdleTeams(number),
        used_by_others=lambda: used_by_all(processors) - time.process_time(),
    )


def num_idle_teams(num_threads: int, *, num_processors: int) -> int:
    """Return how many teams it takes until there are more threads than processors.

    Args:
        num_threads: of the team that computes, at least 2. An idle team adds one less, because libgomp does
            not count the thread that leads it.
    """
    return max(0, (num_processors - num_threads) // (num_threads - 1) + 1)


def used_by_all(processors: set[int], proc_stat: Path = PROC_STAT) -> float:
    """Return the seconds for which programs have used these processors.

    Those of a low priority count as well: between sessions, many kernels do not mind priorities (autogroup).
    """
    names, ticks = {b"cpu%d" % processor for processor in processors}, 0
    with proc_stat.open("rb") as lines:
        for line in lines:
            if not line.startswith(b"cpu"):
                break
            name, user, low_priority, system, *_ = line.split()
            if name in names:
                ticks += int(user) + int(low_priority) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")
