"""Look at what takes more memory than a monitor may hold, in a process of its own: the answer is JSON.

    python -P -m daemon.mains.look diagnosis BASE_DIR >diagnosis.json

It stands back for whatever trains.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from daemon.client import Client, ClientError

NICENESS = 10


def _remarks(client: Client) -> list[str]:
    effective = client.settings.effective(client.overrides() if client.status().is_running else [])
    return [*client.settings.unusable_names(effective.settings), *client.settings.remarks()]


LOOKS: dict[str, Callable[[Client], Any]] = {
    "diagnosis": lambda client: client.health.diagnose(),
    "health": lambda client: client.health.check(),
    "settings": lambda client: client.settings.described(),
    "remarks": _remarks,
}


def main() -> int:
    """Write the answer; return the exit code."""
    os.nice(NICENESS)
    what, base_dir = sys.argv[1:]
    try:
        found = LOOKS[what](Client(Path(base_dir)))
    except ClientError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    sys.stdout.buffer.write(to_json(found, inf_nan_mode="null"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
