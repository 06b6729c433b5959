"""Diagnose in a process of its own: the steps that are read take more memory than a monitor may hold.

    python -P -m daemon.mains.diagnose BASE_DIR >diagnosis.json

It stands back for whatever trains.
"""

import os
import sys
from pathlib import Path

from pydantic_core import to_json

from daemon.client import Client, ClientError

NICENESS = 10


def main() -> int:
    """Write the diagnosis; return the exit code."""
    os.nice(NICENESS)
    try:
        found = Client(Path(sys.argv[1])).health.diagnose()
    except ClientError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    sys.stdout.buffer.write(to_json(found, inf_nan_mode="null"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
