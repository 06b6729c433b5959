"""Files on their way, and the history of those that arrived."""

import os
from collections.abc import Sequence
from pathlib import Path

from daemon.files.identity import identity_of
from daemon.files.names import TRAINING_SUFFIXES, is_training_file
from daemon.files.notes import is_users_file
from daemon.health.check_result import CheckResult, ok, problem, warning
from daemon.intake.ignored import hint_for
from daemon.intake.inbox import find_files
from daemon.ledger.job_records import find_job_of
from daemon.ledger.reader import UnreadableLedger, newest_moment
from trainer.protocol.text import printable

TAKEN_WITHIN_S = 24 * 3600.0


def check_processing(folder: Path, ledger_file: Path, *, daemon_runs: bool) -> list[CheckResult]:
    """Say what happens to the files whose training has started, and to others that lie among them."""
    paths = [folder / name for name in sorted(os.listdir(folder)) if is_users_file(name)]
    foreign = [path for path in paths if not _is_known(path, ledger_file)]
    findings = []
    if started := [path for path in paths if path not in foreign]:
        what = "started; the daemon looks after it"
        if not daemon_runs:
            what = (
                "continues when a daemon starts, where the checkpoint ends; training_health verify shows at"
            )
            what += " which row"
        findings.append(ok("processing", f"{_first_of(started)}: {what}"))
    if foreign and daemon_runs:
        advice = "move it to queue/normal/, or restart the daemon, which checks it: training_daemon restart"
        what = f"{_first_of(foreign)}: the daemon has not started it, so it is not trained there"
        findings.append(warning("processing", what, advice))
    elif foreign:
        what = "the ledger does not know this very file, so a daemon that starts checks it first"
        findings.append(ok("processing", f"{_first_of(foreign)}: {what}"))
    return findings or [ok("processing", "no file is in queue/processing/")]


def _is_known(path: Path, ledger_file: Path) -> bool:
    """Whether a job was started with this very file; True where nobody can tell."""
    try:
        job = find_job_of(ledger_file, identity_of(path.lstat()))
    except (FileNotFoundError, UnreadableLedger):  # moved on just now; or a finding of its own
        return True
    return job is not None and job.state != "removed"


def _first_of(paths: Sequence[Path]) -> str:
    return printable(paths[0].name) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def check_failed(folder: Path) -> CheckResult:
    """Look for files that could not be trained."""
    names = sorted(name for name in os.listdir(folder) if is_users_file(name))
    if not names:
        return ok("failed", "no file is in queue/failed/")
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
    misnamed = sorted(path for path in files if not is_training_file(path.name))
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
    if hint := hint_for(misnamed[0], inbox.parent):
        message, _, advice = hint.partition("; ")
        others = "; what the others are: training_queue show NAME" if more else ""
        return warning("inbox", f"{message}{more and f'; {len(misnamed) - 1} more'}", f"{advice}{others}")
    return warning(
        "inbox",
        f"{_shown(misnamed[0], inbox)}{more}: not accepted as it is; expected names that end in "
        f"{', '.join(TRAINING_SUFFIXES[:-1])} or {TRAINING_SUFFIXES[-1]}",
        "training_queue add converts a copy of a table; then move it away; rename anything else",
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
    try:
        ledger_file.lstat()  # what may not be seen is an error, not a ledger that is missing
    except FileNotFoundError:
        return ok("ledger", "there is none yet"), None
    try:
        moment = newest_moment(ledger_file)
    except UnreadableLedger as error:
        advice = "the next start quarantines a damaged one; it needs only folders and checkpoints"
        return problem("ledger", printable(str(error)).partition("; ")[0], advice), None
    return ok("ledger", "readable from end to end"), moment
