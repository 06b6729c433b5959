"""Files that our processes leave half-written when they die. Nothing else uses such names, or reads them."""

import re

from trainer.protocol.child_process import is_running

# .NAME.PID.tmp and .PID.part, written beside their target and renamed onto it; and rows that a check rejects
HALF_WRITTEN = re.compile(r"\.(?:(?:.+\.)?(?P<pid>\d+)\.(?:tmp|part)|.+\.rejected\.jsonl\.part)")


def is_half_written(name: str) -> bool:
    """Whether a name says that a process of ours was about to rename the file."""
    return HALF_WRITTEN.fullmatch(name) is not None


def is_abandoned(name: str, *, daemon_runs: bool) -> bool:
    """Whether the process that was about to rename the file is gone.

    Args:
        daemon_runs: a daemon other than the one that asks; rejected rows are written by none but the daemon.
    """
    found = HALF_WRITTEN.fullmatch(name)
    if found is None:
        return False
    return not is_running(int(found["pid"])) if found["pid"] else not daemon_runs
