"""The main of a process that shares the worker's steps: loads the same model, then takes step after step.

    python -P -m trainer.mains.follower --base-dir DIR --rank R --num-ranks N --meeting-file FILE …
    … --channel-fd N
    … --connect HOST:PORT

Started by the worker only (`trainer/distributed/ranks.py`), with which it dies. Writes nothing to the disk.
"""

import argparse
import faulthandler
import logging
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from trainer.config.schema import Settings, TrainingSettings
from trainer.distributed.gradient_sum import RankLost, add_up, join_ranks
from trainer.distributed.sharding import ORDERS, LoadReplica, RankOrder, TakeStep, UseSettings
from trainer.mains.connection import add_connection_options, end_with_parent, open_connection
from trainer.mains.fault_kind import describe
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.checkpoints import Checkpoint, read_manifest
from trainer.protocol.layout import PRIVATE_UMASK
from trainer.session.engine import TrainerEngine
from trainer.step.feeding_trainer import FeedingTrainer, StepBundle


def main() -> None:
    """Follow until the worker is gone."""
    parser = argparse.ArgumentParser(description="Share the worker's steps. Started by the worker only.")
    parser.add_argument("--base-dir", type=Path, required=True)
    for name in ("rank", "num-ranks"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--meeting-file", type=Path, required=True)
    add_connection_options(parser)
    arguments = parser.parse_args()
    end_with_parent(arguments, signal.SIGKILL)
    os.umask(PRIVATE_UMASK)
    faulthandler.enable()
    # The worker's to answer: it needs this process until it has saved, and ends it then
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format=f"process {arguments.rank} of {arguments.num_ranks}: %(message)s")
    channel = Channel(open_connection(arguments), ORDERS)
    if arguments.parent_pid is None:
        threading.Thread(target=end_with, args=[channel], name="connection", daemon=True).start()
    try:
        follow(channel, arguments)
    except (ChannelClosed, RankLost):
        pass  # the worker sees for itself who is gone
    except Exception as error:
        with suppress(ChannelClosed):
            channel.send(describe(error, None))
    # If this process left by itself, the others' trouble with that might become the last word
    with suppress(ChannelClosed):
        for _ in each(channel):
            pass


def follow(channel: Channel[RankOrder], arguments: argparse.Namespace) -> None:
    """Load the model, meet the others and take the steps that come.

    Raises:
        ChannelClosed: the worker is gone.
    """
    orders = each(channel)
    order = next(orders)
    assert isinstance(order, LoadReplica)
    trainer = load(order, arguments.base_dir, channel)
    device = trainer.args.device
    meeting = arguments.meeting_file
    join_ranks(meeting, rank=arguments.rank, num_ranks=arguments.num_ranks, device=device)
    trainer.add_up = partial(add_up, trainer.model)
    trainer.feed(shards(orders, trainer))


def load(order: LoadReplica, base_dir: Path, channel: Channel[RankOrder]) -> FeedingTrainer:
    """Load what the worker has loaded, and say that it is there."""
    path = Path(order.checkpoint) if order.checkpoint else None
    engine = TrainerEngine(
        Settings.model_validate(order.settings),
        base_dir=base_dir,
        find_checkpoint=lambda: Checkpoint(path, read_manifest(path)) if path else None,
        may_measure=False,  # the worker does, and says with each step how many tokens go at once
    )
    channel.send(engine.load())
    return engine.trainer


def each(channel: Channel[RankOrder]) -> Iterator[RankOrder]:
    """Yield orders as they come. To wait for one costs no processor time, and may take days."""
    while True:
        yield from channel.receive(None)


def end_with(channel: Channel[RankOrder]) -> None:
    """End this process when the connection to the worker ends, also while it waits for the other ranks."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def shards(orders: Iterator[RankOrder], trainer: FeedingTrainer) -> Iterator[StepBundle]:
    """Yield this process's shard of every step, which is then taken by the settings in force."""
    for order in orders:
        match order:
            case UseSettings():
                trainer.use(TrainingSettings.model_validate(order.training))
            case TakeStep():
                yield order.shard()


if __name__ == "__main__":
    main()
