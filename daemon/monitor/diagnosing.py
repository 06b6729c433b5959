"""Keep the newest diagnosis for a while, made by a process of its own, however many pages ask for it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.errors import HelperFailed
from trainer.protocol.child_process import own_environment
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import Diagnosis

KEPT_S = 60.0  # an illness shows over hundreds of steps
TIMEOUT_S = 60.0


def ask_process(base_dir: Path) -> bytes:
    """Return the diagnosis as JSON.

    Raises:
        HelperFailed: there is none; the message says why.
    """
    # -P: a file in the current folder must not be mistaken for a module
    command = [sys.executable, "-P", "-m", "daemon.mains.diagnose", str(base_dir)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, check=False, env=own_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HelperFailed(f"the diagnosis could not be made: {printable(str(error))}") from error
    if done.returncode:
        words = printable(done.stderr.decode("utf-8", "replace").strip(), limit=500)
        raise HelperFailed(words or f"the diagnosis ended with exit code {done.returncode}")
    return done.stdout


class Diagnoses:
    """The newest diagnosis of each working directory.

    Args:
        ask: returns a new one as JSON.
        clock: monotonic seconds.
    """

    def __init__(
        self, ask: Callable[[Path], bytes] = ask_process, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Path, tuple[float, bytes]] = {}

    def of(self, base_dir: Path) -> "Diagnosis":
        """Return one that is not old; a new one is made once, whoever else asks meanwhile.

        Raises:
            HelperFailed: there is none; the message says why.
        """
        from pydantic import TypeAdapter

        from daemon.diagnosis.findings import Diagnosis

        with self._lock:
            made_at, found = self._kept.get(base_dir, (float("-inf"), b""))
            if self._clock() - made_at > KEPT_S:
                found = self._ask(base_dir)
                self._kept[base_dir] = (self._clock(), found)
        return TypeAdapter(Diagnosis).validate_json(found)
