"""The process that sends the model's life to one tracker.

    python -m daemon.tracking KIND [--base-dir DIR] [--once]

For a daemon, KIND is `-`: its standard input has one line of JSON with what to do, and when the daemon
closes it, or ends, so does this. By itself it reads config.json, and runs until Ctrl-C, or until all is sent.
"""

import argparse
import json
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from daemon.tracking.follower import Follower
from daemon.tracking.outbox import UnreadableOutbox, read_outbox, write_outbox
from daemon.tracking.tracker import UnusableTracker
from daemon.tracking.trackers import make_tracker
from daemon.tracking.used_memory import used_memory
from trainer.config.loader import BadConfig, load_settings
from trainer.config.tracking_settings import Options, TrackingSettings
from trainer.protocol.layout import Layout, find_base_dir
from trainer.protocol.logs import set_up_logging

INTERVAL_S = 1.0
NICENESS = 10  # training comes first
LOCK_TIMEOUT_S = 10.0  # the process before may still be ending
UNUSABLE = 78  # EX_CONFIG

logger = logging.getLogger(__name__)
Wait = Callable[[float], bool]


def main() -> int:
    """Send what happens until it is time to end; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m daemon.tracking", description="Send to one tracker.")
    parser.add_argument("kind", metavar="KIND", help="a key of tracking in config.json, such as tensorboard")
    parser.add_argument("--base-dir", type=Path, help="the working directory")
    parser.add_argument("--once", action="store_true", help="send what is there, then exit")
    given = parser.parse_args()
    os.umask(0o077)
    os.nice(NICENESS)
    if given.kind == "-":
        order = json.loads(sys.stdin.buffer.readline())
        layout = Layout(Path(order["base_dir"]))
        set_up_logging(layout.logs / "tracking.log", form="text")
        [options] = TrackingSettings.model_validate({order["kind"]: order["options"]}).wanted
        return follow(layout, options, _wait_for_end(sys.stdin.fileno()))
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    layout = Layout(find_base_dir(given.base_dir))
    try:
        settings = load_settings(layout.config_file).settings.tracking
    except BadConfig as error:
        parser.error(str(error))
    wanted = {options.kind: options for options in settings.wanted}
    if given.kind not in wanted:
        parser.error(
            f'tracking.{given.kind} is not set; expected "{given.kind}": {{}} in "tracking" of config.json'
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return follow(layout, wanted[given.kind], _wait_once if given.once else _wait_for_interrupt)


def follow(layout: Layout, options: Options, wait: Wait) -> int:
    """Send to a tracker; return the exit code. Why it cannot is in its file, too."""
    file = layout.tracking_file(options.kind, options.destination(layout.base))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with FileLock(file.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            outbox = read_outbox(file)
            try:
                tracker = make_tracker(layout, options, outbox)
                measure = partial(used_memory, layout)
                Follower(layout.ledger_file, file, tracker, options.name, wait=wait, measure=measure).run(
                    INTERVAL_S
                )
            except UnusableTracker as error:
                outbox = read_outbox(file)
                outbox.problem = str(error)
                write_outbox(file, outbox, durable=False)
                raise
    except (UnusableTracker, UnreadableOutbox) as error:
        logger.error("%s", error)
        return UNUSABLE
    except Timeout:
        logger.error("another process sends to tracking.%s; stop it first", options.kind)
        return 1
    return 0


def _wait_for_end(descriptor: int) -> Wait:
    def wait(seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            return not selector.select(seconds)  # nothing more is ever written: this is the end

    return wait


def _wait_for_interrupt(seconds: float) -> bool:
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return False
    return True


def _wait_once(_: float) -> bool:
    return False


if __name__ == "__main__":
    sys.exit(main())
