"""Run the real daemon with workers and one-shot processes from a nursery.

python -m tests.crash.run_daemon DIR SOCKET
"""

import sys
from pathlib import Path

from daemon.app import AlreadyRunning, run_daemon
from tests.crash.forked_one_shots import fork_one_shots
from tests.crash.nursery import NurseryLauncher

RUNS_ALREADY = 75

if __name__ == "__main__":
    base, address = map(Path, sys.argv[1:])
    fork_one_shots(address)
    try:
        sys.exit(run_daemon(base, launcher=NurseryLauncher(address)))
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        sys.exit(RUNS_ALREADY)
