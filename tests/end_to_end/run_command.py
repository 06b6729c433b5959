"""Run the command `training_daemon` as it is, but for its workers: a nursery forks them.

python -m tests.end_to_end.run_command SOCKET ARGUMENTS…
"""

import sys
from pathlib import Path

from daemon.cli.training_daemon import main
from daemon.supervision import launcher
from tests.crash.nursery import subprocess_of

if __name__ == "__main__":
    launcher.subprocess = subprocess_of(Path(sys.argv.pop(1)))  # type: ignore[assignment]
    main()
