"""The web page's process: is there one, start it in the background, end it."""

import fcntl
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from daemon.client.errors import MonitorFailed, NoMonitor
from trainer.protocol.child_process import own_environment
from trainer.protocol.files import UnreadableFile, open_anew, read_json
from trainer.protocol.layout import READY, Layout
from trainer.protocol.text import printable

START_WAIT_S = 30.0
STOP_WAIT_S = 10.0
POLL_INTERVAL_S = 0.05
LAST_WORDS_BYTES = 4_000


@dataclass(frozen=True, kw_only=True)
class MonitorNow:
    """A monitor that runs."""

    pid: int
    host: str
    """Its address, as it was given; printable."""
    port: int


def running_monitor(layout: Layout) -> MonitorNow | None:
    """Return the monitor of a working directory, or None if none runs."""
    try:
        with layout.monitor_lock_file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return None
    else:
        return None
    with suppress(OSError, UnreadableFile, KeyError, TypeError, ValueError):
        facts = read_json(layout.monitor_file)
        return MonitorNow(pid=int(facts["pid"]), host=printable(str(facts["host"])), port=int(facts["port"]))
    return None


def start_monitor(
    layout: Layout, *, host: str, port: int, allowed_hosts: Sequence[str] = (), wait_s: float = START_WAIT_S
) -> MonitorNow:
    """Start a monitor in a session of its own, so that it outlives the terminal; return once it answers.

    One that runs already is returned as it is.

    Raises:
        MonitorFailed: it has ended, or does not answer in time; the message says why.
    """
    if found := running_monitor(layout):
        return found
    command = [sys.executable, "-P", "-m", "daemon.monitor", "--base-dir", str(layout.base), "--quiet"]
    command += ["--host", host, "--port", str(port), *(f"--allow-host={name}" for name in allowed_hosts)]
    stderr_file = layout.logs / "monitor.stderr"
    ours, theirs = os.pipe()
    try:
        with open_anew(stderr_file) as stderr:
            child = subprocess.Popen(
                [*command, "--ready-fd", str(theirs)],
                cwd=layout.base,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs],
                env=own_environment(),
                start_new_session=True,
            )
    except OSError as error:
        os.close(ours)
        raise MonitorFailed(f"the monitor cannot be started: {printable(str(error))}") from error
    finally:
        os.close(theirs)
    # Or a monitor that ends while this process goes on would seem to run: nobody had taken note of its end
    threading.Thread(target=child.wait, name="end of the monitor", daemon=True).start()
    with os.fdopen(ours, "rb", buffering=0) as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if selector.select(wait_s) and pipe.read(len(READY)) == READY and (found := running_monitor(layout)):
            return found
    child.kill()
    child.wait()
    said = stderr_file.read_bytes()[-LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()
    raise MonitorFailed(
        printable(said.removeprefix("error: "), limit=1_000)
        or f"the monitor does not answer within {wait_s:g} s"
    )


def stop_monitor(layout: Layout, *, sleep: Callable[[float], None] = time.sleep) -> MonitorNow:
    """End the monitor, and return what it was.

    Raises:
        NoMonitor: none runs.
        MonitorFailed: it has not ended in time.
    """
    found = running_monitor(layout)
    if found is None:
        raise NoMonitor(f"no monitor runs in {printable(str(layout.base))}; start one with: training_monitor")
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    for _ in range(round(STOP_WAIT_S / POLL_INTERVAL_S)):
        if running_monitor(layout) is None:
            return found
        sleep(POLL_INTERVAL_S)
    raise MonitorFailed(
        f"the monitor (pid {found.pid}) has not ended within {STOP_WAIT_S:g} s; kill {found.pid}"
    )
