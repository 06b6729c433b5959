"""The worker's main: commands in, engine calls, events out. Only it and those it starts import torch.

    python -m trainer.mains.worker --base-dir DIR --channel-fd N
    python -m trainer.mains.worker --base-dir DIR --connect HOST:PORT

It exits 0 when it was to leave and everything is saved, 1 after it has reported why it cannot continue.
When the daemon goes away it saves at the next step boundary and leaves by itself, with CONNECTION_LOST.
"""

import argparse
import faulthandler
import itertools
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trainer.config.schema import Settings
from trainer.mains.connection import add_connection_options, end_with_parent, open_connection
from trainer.mains.fault_kind import describe
from trainer.mains.garbage import collect_seldom, importing
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.handshake import UnusableSecret
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import PRIVATE_UMASK, Layout
from trainer.protocol.logs import set_up_logging
from trainer.protocol.messages import (
    COMMANDS,
    CONNECTION_LOST,
    Command,
    Event,
    Heartbeat,
    JobEnded,
    JobStarted,
    Leaving,
    LoadModel,
    ShutDown,
)
from trainer.protocol.tcp import BadAddress

if TYPE_CHECKING:
    from trainer.session.engine import TrainerEngine

HEARTBEAT_INTERVAL_S = 1.0
ORPHAN_GRACE_S = 60.0  # for the step after the daemon is gone; a save may take as long as it takes
LOCK_POLL_S = 0.5
LOCK_TIMEOUT_S = 120.0  # a worker whose daemon has died may still be saving

logger = logging.getLogger("worker")


class DaemonLink:
    """The worker's end of the connection to the daemon: commands queue up, events go out from any thread."""

    def __init__(self, channel: Channel[Command]) -> None:
        self._channel = channel
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._reason_to_leave = "on request"
        self.is_leaving = False
        """Somebody has said shut down, whether or not it has been read yet."""
        self.is_lost = False
        """The daemon is gone, or out of reach."""
        self.job_id: str | None = None
        """The job in training, for the report of a fault."""
        self.is_saving: Callable[[], bool] = lambda: False
        threading.Thread(target=self._listen, name="commands", daemon=True).start()

    @property
    def reason_to_leave(self) -> str:
        return self._reason_to_leave

    def take_leave(self) -> int:
        """Say that everything is saved, if anybody hears it; return the exit code."""
        self.tell(Leaving(reason=self._reason_to_leave))
        return CONNECTION_LOST if self.is_lost else 0

    def get(self, timeout_s: float | None) -> Command | None:
        """Return the next command, waiting up to `timeout_s` (None: for ever); None when none came."""
        try:
            command = self._commands.get(block=timeout_s != 0, timeout=timeout_s or None)
        except queue.Empty:
            return None
        if isinstance(command, ShutDown):
            self._reason_to_leave = command.reason
        return command

    def leave(self, reason: str) -> None:
        """Have the session end at the next step boundary. Safe in a signal handler."""
        self.is_leaving = True
        self._commands.put(ShutDown(reason=reason))

    def tell(self, event: Event) -> None:
        """Send an event. Without a daemon there is nobody to tell."""
        match event:
            case JobStarted():
                self.job_id = event.job_id
            case JobEnded():
                self.job_id = None
        with self._sending:
            self._send(event)

    def beat(self, observe: Callable[[], Heartbeat]) -> None:
        """Send a heartbeat.

        Args:
            observe: asked while nobody else can speak, so that it is not older than what was said before.
        """
        with self._sending:
            self._send(observe())

    def _send(self, event: Event) -> None:
        try:
            self._channel.send(event)
        except ChannelClosed:
            logger.debug("nobody receives %s", event.kind)

    def _listen(self) -> None:
        try:
            while True:
                for command in self._channel.receive(None):
                    self.is_leaving |= isinstance(command, ShutDown)
                    self._commands.put(command)
        except ChannelClosed:
            self.is_lost = True
            self.leave("the daemon is gone")
        except ValueError as error:  # of another release, perhaps; deaf, it would train on for ever
            self.leave(f"the daemon sent something that cannot be understood: {error}")
        self._leave_in_time()

    def _leave_in_time(self) -> None:
        """End the process if the session does not; but never in the middle of a save."""
        left_s = ORPHAN_GRACE_S
        while left_s > 0 or self.is_saving():
            time.sleep(HEARTBEAT_INTERVAL_S)
            left_s -= HEARTBEAT_INTERVAL_S
        os._exit(CONNECTION_LOST if self.is_lost else 1)


def main() -> int:
    """Run until it is to leave; return the exit code."""
    parser = argparse.ArgumentParser(description="Train what the daemon orders. Started by the daemon only.")
    parser.add_argument("--base-dir", type=Path, required=True)
    add_connection_options(parser)
    arguments = parser.parse_args()
    os.umask(PRIVATE_UMASK)
    collect_seldom()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # what the daemon asks of a worker that hangs
    # Ctrl-C and a closing terminal are the daemon's to answer: it tells the worker to save
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        link = DaemonLink(Channel(open_connection(arguments), COMMANDS))
    except (OSError, BadAddress, UnusableSecret) as error:
        print(f"the daemon cannot be reached: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: link.leave("SIGTERM"))
    # Besides the closed connection: that one needs a thread of ours to be noticed
    end_with_parent(arguments, signal.SIGTERM)
    command = link.get(None)
    if not isinstance(command, LoadModel):
        return link.take_leave()
    layout = Layout(arguments.base_dir)
    settings = Settings.model_validate(command.settings)
    set_up_logging(layout.logs / "worker.log", form=settings.daemon.log_format)
    try:
        with wait_for_lock(FileLock(layout.worker_lock_file), link):
            work(layout, settings, link)
    except Exception as error:
        fault = describe(error, link.job_id)
        is_unexpected = fault.fault is FaultKind.CRASH
        logger.error("cannot continue: %s", error, exc_info=is_unexpected, extra={"job_id": link.job_id})
        link.tell(fault)
        return 1
    logger.info("exited: %s", link.reason_to_leave)
    return link.take_leave()


def wait_for_lock(lock: FileLock, link: DaemonLink) -> FileLock:
    """Acquire the lock of the models folder, which a worker whose daemon died may hold until it has saved.

    Raises:
        Timeout: it is still held, and there is no use in waiting.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    for tries in itertools.count(1):
        try:
            lock.acquire(timeout=LOCK_POLL_S)
            break
        except Timeout:
            if link.is_leaving or time.monotonic() > deadline:
                raise
            detail = "waiting for an earlier worker to save"
            link.tell(Heartbeat(section="loading", detail=detail, ticks=tries))
    return lock


def work(layout: Layout, settings: Settings, link: DaemonLink) -> None:
    """Load the model, say where it stands, and train what is ordered until it is to leave."""
    stop_beating = threading.Event()
    threading.Thread(target=beat, args=[link, stop_beating], name="heartbeat", daemon=True).start()
    engine = _load(layout, settings, link)
    stop_beating.set()
    link.is_saving = lambda: engine.reporter.section == "saving"
    threading.Thread(
        target=beat, args=[link, threading.Event(), engine], name="heartbeat", daemon=True
    ).start()
    engine.run(link)


def _load(layout: Layout, settings: Settings, link: DaemonLink) -> "TrainerEngine":
    with importing():
        from trainer.session.engine import TrainerEngine  # takes seconds; heartbeats already go out

    engine = TrainerEngine(settings, base_dir=layout.base, on_event=link.tell)
    ready = engine.load()
    logger.info("model %s is ready at step %d", ready.model_name, ready.global_step)
    link.tell(ready)
    return engine


def beat(link: DaemonLink, stop: threading.Event, engine: "TrainerEngine | None" = None) -> None:
    """Say every second that this process lives and what it does."""

    def observe() -> Heartbeat:
        if engine is None:
            return Heartbeat(section="loading")
        return Heartbeat(section=engine.reporter.section, ticks=engine.reporter.ticks)

    while not stop.wait(HEARTBEAT_INTERVAL_S):
        link.beat(observe)


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)  # everything is saved; torch takes seconds to tidy up after itself
