"""Run the command `training_daemon` as it is, but for its workers: a nursery forks them.

python -m tests.end_to_end.run_command SOCKET ARGUMENTS…
"""

import sys
from functools import partial
from pathlib import Path

from daemon import app
from daemon.cli.training_daemon import main
from tests.crash.nursery import NurseryLauncher

if __name__ == "__main__":
    app.LocalLauncher = partial(NurseryLauncher, Path(sys.argv.pop(1)))  # type: ignore[assignment,misc]
    main()
