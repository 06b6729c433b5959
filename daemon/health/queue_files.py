"""Files on their way, and the history of those that arrived."""

import os
from collections.abc import Sequence
from pathlib import Path

from daemon.files.names import TRAINING_SUFFIXES, is_training_file
from daemon.files.notes import is_users_file
from daemon.health.check_result import CheckResult, ok, problem, warning
from daemon.intake.inbox import find_files
from daemon.ledger.reader import UnreadableLedger, newest_moment
from trainer.protocol.text import printable

TAKEN_WITHIN_S = 24 * 3600.0


def check_processing(folder: Path, *, daemon_runs: bool) -> CheckResult:
    """Say what happens to the files whose training has started."""
    names = [name for name in os.listdir(folder) if is_users_file(name)]
    if not names:
        return ok("processing", "no file is in queue/processing/")
    shown = printable(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    if daemon_runs:
        return ok("processing", f"{shown}: being handled by the daemon")
    advice = "training_health verify shows at which row"
    return ok("processing", f"{shown}: continues when a daemon starts, where the checkpoint ends; {advice}")


def check_failed(folder: Path) -> CheckResult:
    """Look for files that could not be trained."""
    names = sorted(name for name in os.listdir(folder) if is_users_file(name))
    if not names:
        return ok("failed", "no file has failed")
    shown = printable(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    advice = "training_queue list --failed shows why; fix the cause, then: training_queue retry NAME"
    return warning("failed", f"{shown} could not be trained", advice)


def check_inbox(inbox: Path, *, daemon_runs: bool, now: float) -> list[CheckResult]:
    """Look for files that are never accepted, and for those that should have been accepted long ago.

    Args:
        now: Unix seconds.
    """
    unreadable: list[Path] = []
    files = list(find_files(inbox, on_unreadable=unreadable.append))
    misnamed = [path for path in files if not is_training_file(path.name)]
    late = [path for path in files if is_training_file(path.name) and _is_late(path, now)]
    findings = [
        warning("inbox", f"{_shown(path, inbox)}/ cannot be read", "give the daemon's user access to it")
        for path in unreadable
    ]
    if misnamed:
        findings.append(_misnamed(misnamed, inbox))
    if late:
        findings.append(_late(late, inbox, daemon_runs=daemon_runs))
    return findings or [ok("inbox", "no file has been waiting there for more than a day")]


def _is_late(path: Path, now: float) -> bool:
    try:
        # The time of the last change of any kind: a copy may bring an old time of its content with it
        return now - path.lstat().st_ctime > TAKEN_WITHIN_S
    except FileNotFoundError:
        return False


def _misnamed(misnamed: Sequence[Path], inbox: Path) -> CheckResult:
    more = f" and {len(misnamed) - 1} more" if len(misnamed) > 1 else ""
    return warning(
        "inbox",
        f"{_shown(misnamed[0], inbox)}{more}: never accepted; expected names that end in "
        f"{', '.join(TRAINING_SUFFIXES[:-1])} or {TRAINING_SUFFIXES[-1]}",
        "training_queue add takes a table and converts it; rename anything else, or move it away",
    )


def _late(late: Sequence[Path], inbox: Path, *, daemon_runs: bool) -> CheckResult:
    more = f" and {len(late) - 1} more" if len(late) > 1 else ""
    advice = (
        "a program may still be writing to it; training_controller status shows alerts"
        if daemon_runs
        else "run training_daemon start"
    )
    return warning("inbox", f"{_shown(late[0], inbox)}{more}: not accepted for more than a day", advice)


def _shown(path: Path, inbox: Path) -> str:
    return printable(str(path.relative_to(inbox.parent)))


def check_ledger(ledger_file: Path) -> tuple[CheckResult, str | None]:
    """Read the whole history; return also when its newest event was noted."""
    if not os.path.lexists(ledger_file):
        return ok("ledger", "there is none yet"), None
    try:
        moment = newest_moment(ledger_file)
    except UnreadableLedger as error:
        advice = "the next start quarantines a damaged one; it needs only folders and checkpoints"
        return problem("ledger", printable(str(error)).partition("; ")[0], advice), None
    return ok("ledger", "readable from end to end"), moment
