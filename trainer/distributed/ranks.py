"""The other processes that share each step with this one: start them, deal the rows out, and end with them.

This process, the worker, is rank 0. It alone talks to the daemon, reads files and saves. The others
(`trainer/mains/follower.py`) hold the same model and optimizer. Each waits on a connection of its own for its
shard of a step, adds its gradient to those of all others, and takes the same step. They die with this
process, and it with them. Where they run, only their launcher knows (`followers.py`).
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL

import torch
from torch import Tensor, distributed

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings, TrainingSettings
from trainer.distributed.followers import FollowerLauncher, FollowerProcess, LocalFollowers
from trainer.distributed.gradient_sum import RankLost, add_up, join_ranks
from trainer.distributed.sharding import (
    ANSWERS,
    LoadReplica,
    RankOrder,
    TakeStep,
    UseSettings,
    shard_step,
    threads_of_each,
)
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.checkpoints import Checkpoint
from trainer.protocol.messages import Event, Faulted, WorkerReady
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle

LAST_WORDS_S = 10.0  # for the thread that notices the end of a rank to end this process, and to say why

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Follower:
    """Another process, and the connection to it."""

    rank: int
    process: FollowerProcess
    channel: Channel[Event]


class Ranks:
    """All processes but this one.

    Args:
        training: says how many there are, and where they compute.
        tell: called with why a rank cannot continue, just before this process ends with it; from a thread.
        launcher: starts them; None starts them on this machine.
    Raises:
        BadConfig: there are fewer GPUs.
    """

    def __init__(
        self,
        training: TrainingSettings,
        *,
        base_dir: Path,
        tell: Callable[[Event], None],
        launcher: FollowerLauncher | None = None,
    ) -> None:
        self._num_ranks = training.processes
        self._tell = tell
        self._is_closing = False
        self._ready: queue.SimpleQueue[WorkerReady] = queue.SimpleQueue()
        self._launcher = launcher or LocalFollowers(visible_gpus(training))
        self._watchers: list[threading.Thread] = []
        self._followers = [self._start(rank, base_dir) for rank in range(1, self._num_ranks)]

    def _start(self, rank: int, base_dir: Path) -> Follower:
        started = self._launcher.start(rank, num_ranks=self._num_ranks, base_dir=base_dir)
        follower = Follower(rank, started.process, Channel(started.endpoint, ANSWERS))
        watcher = threading.Thread(target=self._watch, args=[follower], name=f"rank {rank}", daemon=True)
        self._watchers.append(watcher)
        watcher.start()
        return follower

    def join(self, settings: Settings, checkpoint: Checkpoint | None, trainer: FeedingTrainer) -> None:
        """Have the others load what this process has loaded, and share the steps of `trainer` from now on."""
        training = {"processes": 1, "cpu_threads": threads_of_each(settings.training), "average": "none"}
        theirs = settings.model_copy(update={"training": settings.training.model_copy(update=training)})
        source = str(checkpoint.path) if checkpoint else None
        self._order_all(LoadReplica(settings=theirs.model_dump(mode="json"), checkpoint=source))
        for _ in self._followers:
            self._ready.get()
        meeting = self._launcher.meeting_file
        join_ranks(meeting, rank=0, num_ranks=self._num_ranks, device=trainer.args.device)
        trainer.add_up = partial(self._add_up, trainer)

    def use(self, training: TrainingSettings) -> None:
        """Take the next steps by these settings."""
        theirs = training.model_copy(update={"average": "none"})  # this process alone keeps one
        self._order_all(UseSettings(training=theirs.model_dump(mode="json")))

    def shard(self, bundles: Iterator[StepBundle]) -> Iterator[StepBundle]:
        """Yield each step with this process's rows only, while the others have theirs."""
        for bundle in bundles:
            all_rows = bundle.examples
            own, *others = shard_step(bundle, self._num_ranks)
            for follower, shard in zip(self._followers, others, strict=True):
                self._order(follower, TakeStep.of(shard))
            bundle.examples, bundle.step_seed = own.examples, own.step_seed
            yield bundle
            bundle.examples = all_rows

    def close(self) -> None:
        """End the others."""
        self._is_closing = True
        for follower in self._followers:
            follower.process.kill()
        for watcher in self._watchers:
            watcher.join()
        for follower in self._followers:
            follower.channel.close()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        self._launcher.close()

    # ---- parts

    def _order_all(self, order: RankOrder) -> None:
        for follower in self._followers:
            self._order(follower, order)

    def _order(self, follower: Follower, order: RankOrder) -> None:
        try:
            follower.channel.send(order)
        except ChannelClosed as error:
            self._wait_for_the_end()
            raise RankLost(f"process {follower.rank} of {self._num_ranks} does not listen") from error

    def _add_up(self, trainer: FeedingTrainer, loss: Tensor, tokens: int) -> tuple[Tensor, int]:
        try:
            return add_up(trainer.model, loss, tokens)
        except RankLost:
            self._wait_for_the_end()
            raise

    def _watch(self, follower: Follower) -> None:
        """Note when a rank is ready, and end this process with it."""
        try:
            while True:
                for answer in follower.channel.receive(None):
                    if isinstance(answer, WorkerReady):
                        self._ready.put(answer)
                    elif isinstance(answer, Faulted):
                        self._tell(answer)
                        os._exit(1)
        except ChannelClosed:
            code = follower.process.wait()
        if not self._is_closing:
            logger.error("process %d of %d ended with code %d", follower.rank, self._num_ranks, code)
            if code == -SIGKILL:  # the same way, so that the daemon can tell a lack of memory from a fault
                os.kill(os.getpid(), SIGKILL)
            os._exit(1)

    @staticmethod
    def _wait_for_the_end() -> None:
        threading.Event().wait(LAST_WORDS_S)


def visible_gpus(training: TrainingSettings) -> list[str]:
    """Return the GPUs that this process may use, as the driver calls them; none when it computes on the CPU.

    Raises:
        BadConfig: there are fewer than processes.
    """
    if training.device == "cpu" or not torch.cuda.is_available():
        return []
    number = torch.cuda.device_count()
    if number < training.processes:
        raise BadConfig(
            f"training.processes is {training.processes}, but GPUs that can be used: {number}; expected one "
            f'for each process; set it to {number}, or training.device to "cpu"'
        )
    return os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(number)))).split(",")
