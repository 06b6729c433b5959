"""Run the real daemon with the fake worker, as a process that can be killed.

    python -m tests.faults.run_daemon DIR [drain]

Variables that begin with `FAKE_` go to the worker, which then misbehaves as tests/fake_worker.py says.
"""

import os
import sys
from pathlib import Path

from daemon.app import run_daemon
from tests.daemon.rig import FakeLauncher

WORKER = Path(__file__).parent / "remembering_worker.py"


def main() -> int:
    base, *words = sys.argv[1:]
    misbehaviour = {name: value for name, value in os.environ.items() if name.startswith("FAKE_")}
    return run_daemon(Path(base), drain="drain" in words, launcher=FakeLauncher(WORKER, **misbehaviour))


if __name__ == "__main__":
    sys.exit(main())
