"""Have a process of its own look at what would take too much memory here, once for however many pages."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from starlette.responses import Response

from daemon.client.errors import HelperFailed
from trainer.protocol.child_process import own_environment
from trainer.protocol.text import printable

KEPT_S = {"diagnosis": 60.0}  # an illness shows over hundreds of steps; everything else is as it is now
TIMEOUT_S = 60.0


def ask_process(what: str, base_dir: Path) -> bytes:
    """Return what a process has seen, as JSON.

    Raises:
        HelperFailed: it has seen nothing; the message says why.
    """
    # -P: a file in the current folder must not be mistaken for a module
    command = [sys.executable, "-P", "-m", "daemon.mains.look", what, str(base_dir)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, check=False, env=own_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HelperFailed(f"the {what} could not be read: {printable(str(error))}") from error
    if done.returncode:
        words = printable(done.stderr.decode("utf-8", "replace").strip(), limit=500)
        raise HelperFailed(words or f"the {what} could not be read: exit code {done.returncode}")
    return done.stdout


class Looks:
    """The newest answers of such processes.

    Args:
        ask: returns a new answer.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[str, Path], bytes] = ask_process,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._locks = {what: threading.Lock() for what in ("diagnosis", "health", "settings", "remarks")}
        self._kept: dict[tuple[str, Path], tuple[float, bytes]] = {}

    def of(self, what: str, base_dir: Path) -> Response:
        """Return an answer as JSON: a new one, or one that still holds. There is one process at a time.

        Raises:
            HelperFailed: there is none; the message says why.
        """
        with self._locks[what]:
            made_at, found = self._kept.get((what, base_dir), (float("-inf"), b""))
            if self._clock() - made_at > KEPT_S.get(what, 0.0):
                found = self._ask(what, base_dir)
                self._kept[what, base_dir] = (self._clock(), found)
        return Response(found, media_type="application/json")
