"""Run the real daemon with workers and one-shot processes from a nursery.

python -m tests.crash.run_daemon DIR SOCKET
"""

import sys
from pathlib import Path

from daemon.app import run_daemon
from tests.crash.forked_one_shots import fork_one_shots
from tests.crash.nursery import NurseryLauncher

if __name__ == "__main__":
    base, address = map(Path, sys.argv[1:])
    fork_one_shots(address)
    sys.exit(run_daemon(base, launcher=NurseryLauncher(address)))
