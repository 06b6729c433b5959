"""The process that tells one command, one web server, or the services of Apprise what happens.

Its standard input has one line of JSON with what to do; when the daemon closes it, or ends, so does this.
"""

import json
import logging
import os
import selectors
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from daemon.notify.delivery import Deliver, UnusableSecret, command, read_secret, webhook
from daemon.notify.notifier import Notifier, Rules
from daemon.notify.through_apprise import UnusableApprise, apprise
from trainer.protocol.layout import Layout
from trainer.protocol.logs import set_up_logging
from trainer.protocol.text import printable

INTERVAL_S = 1.0
NICENESS = 10  # training comes first

logger = logging.getLogger(__name__)


def main() -> int:
    """Tell what happens until the daemon ends; return the exit code."""
    os.umask(0o077)
    os.nice(NICENESS)
    order = json.loads(sys.stdin.buffer.readline())
    layout, settings, channel = Layout(Path(order["base_dir"])), order["settings"], order["channel"]
    set_up_logging(layout.logs / "notify.log", form="text")
    try:
        deliver = _deliver(layout, settings, channel)
    except (UnusableSecret, UnusableApprise) as error:
        logger.error("%s; nothing is sent to notify.%s", error, channel)
        return 78
    with FileLock(layout.notify_file(channel).with_suffix(".lock")):  # the one before may still be sending
        notifier = Notifier(
            layout.ledger_file,
            layout.notify_file(channel),
            deliver,
            Rules(
                events=settings["events"],
                max_per_minute=settings["max_per_minute"],
                repeat_after_s=settings["repeat_after_s"],
            ),
            first_event=order["first_event"],
            place={"host": printable(socket.gethostname()), "base_dir": printable(str(layout.base))},
            wait=_wait_for_end(sys.stdin.fileno()),
        )
        notifier.run(INTERVAL_S)
    return 0


def _deliver(layout: Layout, settings: dict[str, Any], channel: str) -> Deliver:
    if channel == "command":
        return command(settings["command"], layout.base, settings["timeout_s"])
    if channel == "apprise":
        return apprise(settings["apprise"], settings["timeout_s"])
    secret = read_secret(settings["secret_env"], settings["secret_file"], layout.base, os.environ)
    return webhook(settings["webhook"], secret, settings["timeout_s"])


def _wait_for_end(descriptor: int) -> Callable[[float], bool]:
    def wait(seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            return not selector.select(seconds)  # nothing more is ever written: this is the end

    return wait


if __name__ == "__main__":
    sys.exit(main())
