"""What processes have in common that read one order, answer it and end."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

KILL_ME_FIRST = "1000"


def be_killed_first() -> None:
    """Ask the system to kill this process rather than a worker, should it make the memory run out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILL_ME_FIRST)


def take_standard_output() -> TextIO:
    """Return the standard output for the answer alone: whatever a library prints goes elsewhere."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(output, "w", encoding="utf-8")
