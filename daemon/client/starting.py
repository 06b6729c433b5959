"""Start a daemon in the background and wait until it is ready; stop one and start the next."""

import os
import re
import selectors
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from daemon.client.errors import NotReady, RunsAlready, RunsAsService, StartFailed
from daemon.control.next_start import stop_at_start
from daemon.status.reader import read_status
from trainer.protocol.child_process import own_environment
from trainer.protocol.files import UnreadableFile, open_anew, read_json
from trainer.protocol.layout import READY, Layout
from trainer.protocol.text import printable

# Of a service manager that looks after this process: the daemon is none of its business
NOT_FOR_OTHERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID")
UNIT = re.compile(r"/([^/\s]+)\.service(?![^/\s])")  # in the path of a control group
SERVICE = "training-daemon"  # as it is called unless it was installed with another name
LAST_WORDS_BYTES = 4_000
LONGEST_WAIT_S = 1e6  # the system takes no longer time, and nobody waits so long


@dataclass(frozen=True, kw_only=True)
class Started:
    """A daemon that runs in the background."""

    pid: int
    base_dir: str
    """Printable."""
    log: str
    """Where it writes what it does; printable."""
    overrides: list[str]
    """The `--set` texts in force; printable."""
    stops_for: str | None
    """A control file that was there before, for which it stops again at once; printable. None without one."""


def start(layout: Layout, *, overrides: Sequence[str], wait_s: float) -> Started:
    """Start a daemon in a session of its own, so that it outlives the terminal; return once it is ready.

    Args:
        overrides: `--set` texts.
    Raises:
        RunsAlready: one runs.
        StartFailed: it has ended; the message is what it said.
        NotReady: it still starts.
    """
    found = read_status(layout)
    if found.is_running:  # whether one runs that is silent, only the lock can tell, which the new one tries
        raise RunsAlready(
            f"a daemon is already {found.life_text()} in {printable(str(layout.base))}; "
            "to restart it: training_daemon restart"
        )
    try:
        layout.create()
        stop = stop_at_start(layout)
        ours, theirs = os.pipe()
        with open_anew(_stderr_file(layout)) as stderr:
            child = subprocess.Popen(
                _command(layout, overrides, theirs),
                cwd=layout.base,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[theirs],
                env=_environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise StartFailed(
            f"no daemon can be started in {printable(str(layout.base))}: {printable(str(error))}; "
            "expected a writable folder; fix this or choose another --base-dir",
            exit_code=1,
        ) from error
    os.close(theirs)
    # Or a daemon that ends while this process goes on would seem to run: nobody had taken note of its end
    threading.Thread(target=child.wait, name="end of the daemon", daemon=True).start()
    _wait_until_ready(layout, child, ours, wait_s)
    return Started(
        pid=child.pid,
        base_dir=printable(str(layout.base)),
        log=printable(str(layout.logs / "daemon.log")),
        overrides=[printable(text) for text in overrides],
        stops_for=printable(str(stop.relative_to(layout.base))) if stop else None,
    )


def overrides_of_last(layout: Layout) -> list[str]:
    """Return the `--set` texts of the daemon that runs, or ran last.

    Raises:
        RunsAsService: it runs, and a service manager has started it.
    """
    if is_service(layout) and read_status(layout).life in ("running", "silent"):
        raise RunsAsService(
            f"the daemon in {printable(str(layout.base))} runs as a service, which alone can restart it: "
            f"{restart_of_service(_control_group(layout))}"
        )
    return given_overrides(layout)


def given_overrides(layout: Layout) -> list[str]:
    """Return the `--set` texts of the daemon that runs, or ran last, whoever started it."""
    found = _process_facts(layout).get("overrides")
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def overrides_in_force(layout: Layout) -> list[str]:
    """Return the `--set` texts of the daemon that runs; none if no daemon does."""
    return [] if read_status(layout).is_gone else given_overrides(layout)


def restart_of_service(control_group: str) -> str:
    """Return what restarts the service that a process belongs to.

    Args:
        control_group: what `/proc/PID/cgroup` says; the unit is in its path.
    """
    units = [unit for unit in UNIT.findall(control_group) if not unit.startswith("user@")]
    if not units:
        return f"systemctl --user restart {SERVICE} (without --user if it is the machine's)"
    user = " --user" if "/user@" in control_group else ""
    return f"systemctl{user} restart {printable(units[-1])}"


def _control_group(layout: Layout) -> str:
    with suppress(OSError):
        return Path(f"/proc/{_process_facts(layout).get('pid')}/cgroup").read_text(errors="replace")
    return ""


def is_service(layout: Layout) -> bool:
    """Whether a service manager has started the daemon that runs, or ran last."""
    return _process_facts(layout).get("is_service") is True


def wait_for_lock(layout: Layout, wait_s: float) -> None:
    """Wait until a daemon that says it has stopped has really left.

    Raises:
        RunsAlready: it has not.
    """
    try:
        with FileLock(layout.lock_file, timeout=wait_s):
            return
    except Timeout:
        raise RunsAlready(
            f"the daemon in {printable(str(layout.base))} has not left within {wait_s:g} s; "
            "look at logs/daemon.log, then try again"
        ) from None


def _process_facts(layout: Layout) -> Mapping[str, Any]:
    with suppress(OSError, UnreadableFile):
        facts = read_json(layout.process_file)
        return facts if isinstance(facts, dict) else {}
    return {}


def _command(layout: Layout, overrides: Sequence[str], ready_fd: int) -> list[str]:
    # -P: a file in the working directory must not be mistaken for a module
    command = [sys.executable, "-P", "-m", "daemon.cli.training_daemon", "--base-dir", str(layout.base)]
    return [*command, "--ready-fd", str(ready_fd), *(f"--set={text}" for text in overrides)]


def _environment() -> dict[str, str]:
    return {name: value for name, value in own_environment().items() if name not in NOT_FOR_OTHERS}


def _stderr_file(layout: Layout) -> Path:
    """Return where the process writes what is not in its log."""
    return layout.logs / "daemon.stderr"


def _wait_until_ready(layout: Layout, child: "subprocess.Popen[bytes]", ours: int, wait_s: float) -> None:
    with os.fdopen(ours, "rb", buffering=0) as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(min(wait_s, LONGEST_WAIT_S)):
            raise NotReady(
                f"the daemon (pid {child.pid}) is not ready within {wait_s:g} s; it continues to start; "
                "training_controller status shows when it runs"
            )
        if pipe.read(len(READY)) == READY:
            return
    code = child.wait()
    raise StartFailed(_last_words(layout, code), exit_code=code if code > 0 else 1)


def _last_words(layout: Layout, code: int) -> str:
    """Return what the daemon said when it failed to start."""
    path = _stderr_file(layout)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_WORDS_BYTES))
        said = file.read().decode("utf-8", "replace").strip()
    if not said:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return (
            f"the daemon {how} before it was ready; {printable(str(layout.logs / 'daemon.log'))} may say why"
        )
    lines = [printable(line) for line in said.removeprefix("error: ").splitlines()]
    return "\n".join(lines)
