"""The worker's main: commands in, engine calls, events out. Only it and those it starts import torch.

    python -m trainer.mains.worker --base-dir DIR --channel-fd N
    python -m trainer.mains.worker --base-dir DIR --connect HOST:PORT

It exits 0 when it was told to leave and everything is saved, 1 after it has reported why it cannot go on.
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
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.config.schema import Settings
from trainer.mains.connection import add_connection_options, end_with_parent, open_connection
from trainer.profiles.base import BadProfileOption, BrokenProfile, UnknownProfile
from trainer.protocol.channel import Channel, ChannelClosed
from trainer.protocol.checkpoints import NoUsableCheckpoint
from trainer.protocol.faults import (
    BrokenModel,
    MissingDevice,
    ModelUnavailable,
    NotFinite,
    UnusableModel,
    UnusableReplay,
    is_out_of_gpu_memory,
    is_out_of_memory,
)
from trainer.protocol.files import UnreadableFile
from trainer.protocol.handshake import UnusableSecret
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.logs import set_up_logging
from trainer.protocol.messages import (
    COMMANDS,
    CONNECTION_LOST,
    Command,
    Event,
    Faulted,
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

PROFILE_ERRORS = (UnknownProfile, BadProfileOption, BrokenProfile)
CONFIG_ERRORS = (BadConfig, LockedSetting, UnreadableFile, UnusableModel, *PROFILE_ERRORS)
ENVIRONMENT_ERRORS = (ModelUnavailable, NoUsableCheckpoint, MissingDevice, UnusableReplay, Timeout, OSError)
GPU_ERROR = "CUDA error"  # torch's words when a GPU has gone, or its driver

logger = logging.getLogger("worker")


class Line:
    """The worker's end of the connection: commands queue up, events go out from any thread."""

    def __init__(self, channel: Channel[Command]) -> None:
        self._channel = channel
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._reason_to_leave = "told to"
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

    def beat(self, look: Callable[[], Heartbeat]) -> None:
        """Send a heartbeat.

        Args:
            look: asked while nobody else can speak, so that it is not older than what was said before.
        """
        with self._sending:
            self._send(look())

    def _send(self, event: Event) -> None:
        try:
            self._channel.send(event)
        except ChannelClosed:
            logger.debug("nobody hears of %s", event.kind)

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
            self.leave(f"the daemon said something that cannot be understood: {error}")
        self._leave_in_time()

    def _leave_in_time(self) -> None:
        """End the process if the session does not; but never in the middle of a save."""
        left_s = ORPHAN_GRACE_S
        while left_s > 0 or self.is_saving():
            time.sleep(HEARTBEAT_INTERVAL_S)
            left_s -= HEARTBEAT_INTERVAL_S
        os._exit(CONNECTION_LOST if self.is_lost else 1)


def main() -> int:
    """Run until told to leave; return the exit code."""
    parser = argparse.ArgumentParser(description="Train what the daemon says. Started by the daemon only.")
    parser.add_argument("--base-dir", type=Path, required=True)
    add_connection_options(parser)
    arguments = parser.parse_args()
    os.umask(0o077)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # what the daemon asks of a worker that hangs
    # Ctrl-C and a closing terminal are the daemon's to answer: it tells the worker to save
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        line = Line(Channel(open_connection(arguments), COMMANDS))
    except (OSError, BadAddress, UnusableSecret) as error:
        print(f"the daemon cannot be reached: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: line.leave("SIGTERM"))
    # Besides the closed connection: that one needs a thread of ours to be noticed
    end_with_parent(arguments, signal.SIGTERM)
    command = line.get(None)
    if not isinstance(command, LoadModel):
        return line.take_leave()
    layout = Layout(arguments.base_dir)
    settings = Settings.model_validate(command.settings)
    set_up_logging(layout.logs / "worker.log", form=settings.daemon.log_format)
    try:
        with wait_for_lock(FileLock(layout.models / ".worker.lock"), line):
            work(layout, settings, line)
    except Exception as error:
        fault = describe(error, line.job_id)
        is_unexpected = fault.fault is FaultKind.CRASH
        logger.error("cannot go on: %s", error, exc_info=is_unexpected, extra={"job_id": line.job_id})
        line.tell(fault)
        return 1
    logger.info("left: %s", line.reason_to_leave)
    return line.take_leave()


def wait_for_lock(lock: FileLock, line: Line) -> FileLock:
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
            if line.is_leaving or time.monotonic() > deadline:
                raise
            detail = "waiting for an earlier worker to save"
            line.tell(Heartbeat(section="loading", detail=detail, ticks=tries))
    return lock


def work(layout: Layout, settings: Settings, line: Line) -> None:
    """Load the model, say where it stands, and train what is ordered until told to leave."""
    stop_beating = threading.Event()
    threading.Thread(target=beat, args=[line, stop_beating], name="heartbeat", daemon=True).start()
    engine = _load(layout, settings, line)
    stop_beating.set()
    line.is_saving = lambda: engine.reporter.section == "saving"
    threading.Thread(
        target=beat, args=[line, threading.Event(), engine], name="heartbeat", daemon=True
    ).start()
    engine.run(line)


def _load(layout: Layout, settings: Settings, line: Line) -> "TrainerEngine":
    from trainer.session.engine import TrainerEngine  # takes seconds, during which heartbeats already go out

    engine = TrainerEngine(settings, base_dir=layout.base, on_event=line.tell)
    ready = engine.load()
    logger.info("model %s is ready at step %d", ready.model_name, ready.global_step)
    line.tell(ready)
    return engine


def beat(line: Line, stop: threading.Event, engine: "TrainerEngine | None" = None) -> None:
    """Say every second that this process lives and what it does."""

    def look() -> Heartbeat:
        if engine is None:
            return Heartbeat(section="loading")
        return Heartbeat(section=engine.reporter.section, ticks=engine.reporter.ticks)

    while not stop.wait(HEARTBEAT_INTERVAL_S):
        line.beat(look)


def describe(error: Exception, job_id: str | None) -> Faulted:
    """Say whose fault an exception is. What is not known for certain counts as a crash."""
    return Faulted(
        fault=classify(error),
        error_class=type(error).__name__,
        message=str(error),
        traceback=traceback.format_exc(),
        job_id=job_id,
        left_out=error.window if isinstance(error, NotFinite) else None,
    )


def classify(error: Exception) -> FaultKind:
    """Return the kind of fault an exception stands for."""
    if isinstance(error, CONFIG_ERRORS):
        return FaultKind.BAD_CONFIG
    if isinstance(error, NotFinite | BrokenModel):
        return FaultKind.NAN
    if is_out_of_gpu_memory(error):
        return FaultKind.GPU_OUT_OF_MEMORY
    if is_out_of_memory(error):
        return FaultKind.OUT_OF_MEMORY
    if isinstance(error, ENVIRONMENT_ERRORS) or GPU_ERROR in str(error):
        return FaultKind.ENVIRONMENT
    return FaultKind.CRASH


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)  # everything is saved; torch takes seconds to tidy up after itself
