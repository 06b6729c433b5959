"""Send rows to trackio, which has its own environment: it needs other versions of packages than training.

A program there (`daemon/tracking/trackio_program.py`) takes them as JSON lines. Each row has an id of its
own, and trackio ignores one that it has, so sending rows again repeats none.
"""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from daemon.tracking import trackio_program
from daemon.tracking.rows import Row, Run
from daemon.tracking.tracker import NotSent, UnusableTracker
from trainer.protocol.child_process import own_environment
from trainer.protocol.text import utc_text

TIMEOUT_S = 60.0


def default_python() -> Path:
    """Return the Python that `scripts/setup trackio` makes, beside the environment of training."""
    return Path(sys.prefix).parent / ".venv-trackio" / "bin" / "python"


class Trackio:
    """Writes runs of one project.

    Args:
        folder: where trackio has its files.
        python: of an environment that has trackio.
    Raises:
        UnusableTracker: there is no such environment, or it has no trackio.
    """

    def __init__(self, folder: Path, project: str, python: Path) -> None:
        expected = "run scripts/setup trackio, or set tracking.trackio.python to a Python that has trackio"
        if not os.access(python, os.X_OK):
            raise UnusableTracker(f"tracking.trackio is set, but there is no {python}; {expected}")
        found = "import importlib.util as u, sys; sys.exit(u.find_spec('trackio') is None)"
        if subprocess.run([python, "-I", "-c", found], check=False, capture_output=True).returncode:
            raise UnusableTracker(f"tracking.trackio is set, but {python} has no package trackio; {expected}")
        self._folder, self._project, self._python = folder, project, python
        self._process: subprocess.Popen[bytes] | None = None
        self._run: Run | None = None
        self._confirmed = 0

    def open(self, run: Run) -> None:
        """Start the program."""
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._process = subprocess.Popen(
            [self._python, "-I", trackio_program.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=own_environment() | {"TRACKIO_DIR": str(self._folder), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Return all of them: trackio ignores those that it has."""
        return list(rows)

    def send(self, rows: Sequence[Row]) -> None:
        """Have the program store rows, and wait for its answer."""
        if not rows:
            return
        assert self._run
        config = [json.loads(row.text) for row in rows if row.kind == "settings"]
        order = {
            "project": self._project,
            "run": self._run.name,
            "run_id": self._run.id,
            "config": {**config[-1], "_Group": self._run.lineage} if config else None,
            "rows": [
                {
                    "id": f"{self._run.id}-{row.number}",
                    "step": row.step,
                    "at": utc_text(row.at),
                    "values": _values_of(row),
                }
                for row in rows
            ],
        }
        if error := self._ask(json.dumps(order).encode() + b"\n"):
            raise NotSent(f"trackio: {error}")
        self._confirmed = rows[-1].number

    def confirmed(self) -> int:
        """Return the number of the last row that trackio has stored."""
        return self._confirmed

    def close(self) -> None:
        """End the program."""
        self._confirmed = 0
        if self._process and self._process.stdin and self._process.stdout:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.kill()  # whatever it has answered for is stored
            self._process.wait()
            self._process = None

    def _ask(self, line: bytes) -> str | None:
        """Return why the program could not do it; None if it has."""
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return "its program has ended"
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(TIMEOUT_S):
                return f"it has not answered within {TIMEOUT_S:.0f} s"
        answer = self._process.stdout.readline()
        if not answer:
            return "its program has ended"
        error: str | None = json.loads(answer)["error"]
        return error


def _values_of(row: Row) -> dict[str, float | str]:
    match row.kind:
        case "metrics":
            return dict(row.values)
        case "answer":
            return {f"previews/{row.name[:100]}": row.text}
        case "settings":
            return {"notes/settings": row.text}
        case _:
            return {f"notes/{row.name}": row.text}
