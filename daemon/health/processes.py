"""Daemon, worker and control files: which run, which only seem to, and which are not obeyed.

Pure, apart from the two functions at the end.
"""

import fcntl
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import psutil

from daemon.control.control_files import Request
from daemon.health.check_result import CheckResult, ok, problem, warning
from daemon.jobs.wishes import FORGETTING
from daemon.status.reader import Status
from trainer.protocol.text import printable, shell_word

OBEYED_WITHIN_S = 30.0  # several of the daemon's looks at the control folder, the slowest included


def check_daemon(status: Status, *, lock_is_held: bool) -> CheckResult:
    """Compare what the status file says with who really holds the lock."""
    pid, age = status.fields.get("daemon_pid"), f"{status.age_s:.0f} s"
    match lock_is_held, status.life:
        case True, "running":
            return _running(status, f"running (pid {pid}), last heartbeat {age} ago")
        case True, "silent":
            return problem(
                "daemon",
                f"process {pid} has sent no heartbeat for {age}; expected one every few seconds",
                f"read logs/daemon.log; if it does not recover: kill -9 {pid}, then training_daemon start",
            )
        case _, "unreadable":
            return problem(
                "daemon",
                f"it is {status.life_text()}",
                "a daemon that runs writes the file anew within seconds; if none does: training_daemon start",
            )
        case True, _:
            return warning(
                "daemon",
                "a process holds status/daemon.lock, but the status file does not show it as running",
                "a daemon that is just starting looks like this; check again in a minute",
            )
        case False, "running" | "silent" | "dead":
            return problem(
                "daemon",
                f"it ended without a trace: process {pid} no longer holds status/daemon.lock",
                "start it: training_daemon start; it continues from the newest checkpoint, if there is one",
            )
    return ok("daemon", f"it is {status.life_text()}")


def _running(status: Status, message: str) -> CheckResult:
    if status.fields.get("status") != "blocked":
        return ok("daemon", message)
    reason = printable(str(status.fields.get("status_reason")))
    return problem(
        "daemon",
        f"{message}, but it is blocked: {reason}",
        "remove the cause; it tries again on its own, and immediately on training_controller resume",
    )


def check_worker(
    status: Status,
    *,
    daemon_runs: bool,
    lock_is_held: bool,
    worker_pids: Collection[int],
    is_alive: bool,
    is_paused: bool,
) -> CheckResult:
    """Look for a worker that has died, or that has outlived its daemon.

    Args:
        lock_is_held: whether somebody may write into `models/`.
        worker_pids: workers of this working directory that run now.
        is_alive: whether the process that the status file names as the worker exists.
        is_paused: whether a pause holds, with or without a daemon.
    """
    pid = status.fields.get("worker_pid")
    without_daemon = [other for other in worker_pids if not daemon_runs or other != pid]
    if without_daemon or (lock_is_held and not daemon_runs):
        who = f"process {', '.join(map(str, without_daemon))}" if without_daemon else "some process"
        return warning(
            "worker",
            f"{who} is a worker without a daemon; it saves and exits within two minutes",
            "check again after that; kill it only if it is still there",
        )
    if is_paused and not daemon_runs:
        return ok(
            "worker", "none is running; a daemon that starts stays paused until training_controller resume"
        )
    reason = str(status.fields.get("status_reason") or "")
    if daemon_runs and pid is None and reason.startswith(FORGETTING):
        return ok("worker", f"none is running before this is over: {printable(reason)}")
    if is_paused and pid is None:
        return ok("worker", "none is running: training is paused until training_controller resume")
    if not daemon_runs or pid is None:
        return ok("worker", "none is running; one starts when there is something to train")
    if not is_alive:
        return warning(
            "worker",
            f"process {pid} is gone",
            "the daemon starts another one; training_health crashes shows what crashed earlier ones",
        )
    return ok("worker", f"process {pid} is running: {printable(str(status.fields.get('worker_section')))}")


def check_control(
    requests: Sequence[Request], base: Path, *, daemon_runs: bool, now: float
) -> list[CheckResult]:
    """Look for control files that nobody has obeyed.

    Args:
        now: Unix seconds.
    """
    findings = []
    for request in requests:
        place, word = request.path.relative_to(base), shell_word(str(request.path))
        age_s = now - request.written_at
        if not daemon_runs:
            what = "will be obeyed" if request.is_lasting else "will be answered as too old"
            advice = f"run training_daemon start, or withdraw it: rm {word}"
            findings.append(warning("control", f"{place} {what} when a daemon starts", advice))
        elif age_s > OBEYED_WITHIN_S:
            findings.append(
                problem(
                    "control",
                    f"{place} has not been obeyed for {age_s:.0f} s; expected at most "
                    f"{OBEYED_WITHIN_S:.0f} s",
                    f"read logs/daemon.log; withdraw it with: rm {word}",
                )
            )
    return findings or [ok("control", "no control file is pending")]


def is_held(lock_file: Path) -> bool:
    """Whether a process holds a lock file; it is neither created nor changed.

    Raises:
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, and given back at once: only a daemon that starts in these microseconds would find it taken
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def find_workers(base: Path) -> list[int]:
    """Return the process numbers of this working directory's workers, without those they have started."""
    parents = {}
    for process in psutil.process_iter(["cmdline", "ppid"]):
        arguments = process.info["cmdline"] or []
        if "trainer.mains.worker" in arguments and str(base) in arguments:
            parents[process.pid] = process.info["ppid"]
    return sorted(pid for pid, parent in parents.items() if parent not in parents)
