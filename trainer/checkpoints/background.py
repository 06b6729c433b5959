"""Write a checkpoint in a process of its own, so that training waits for a copy to memory only.

    python -P -m trainer.checkpoints.background        the order comes in, the result goes out, both as JSON

It loads no torch, starts in a fraction of a second, and dies with the worker that ordered it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trainer.checkpoints.publishing import STAGING, publish_folder, tidy_up
from trainer.checkpoints.retention import Retention
from trainer.protocol.child_process import die_with, own_environment
from trainer.protocol.manifest import Manifest


class WriteOrder(BaseModel):
    """What is to be written."""

    models: Path
    source: Path
    """The folder with the files."""
    draft: Manifest
    rules: Retention
    verified: list[str]
    """Checkpoints that need not be verified again before older ones are removed."""
    parent_pid: int


class Writer:
    """A process that writes one checkpoint."""

    def __init__(self, order: WriteOrder) -> None:
        with tempfile.TemporaryFile() as paper:  # a pipe would make us wait until the process reads
            paper.write(order.model_dump_json().encode())
            paper.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainer.checkpoints.background"],
                stdin=paper,
                stdout=subprocess.PIPE,
                env=own_environment(),
            )

    def is_done(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def result(self) -> tuple[str, str | None]:
        """Return the name of the published checkpoint, and what a person should know.

        Raises:
            OSError: it could not be written.
        """
        assert self._process.stdout
        with self._process.stdout:
            said = self._process.stdout.read()
        if code := self._process.wait():
            raise OSError(f"the process that writes the checkpoint ended with code {code}")
        answer: dict[str, Any] = json.loads(said)
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"])
        return str(answer["name"]), answer["notice"]


def main() -> None:
    """Carry out one order."""
    os.umask(0o077)
    order = WriteOrder.model_validate_json(sys.stdin.buffer.read())
    die_with(order.parent_pid, signal.SIGKILL)
    try:
        checkpoint = publish_folder(order.models, order.source, order.draft)
    except OSError as error:
        shutil.rmtree(order.models / STAGING, ignore_errors=True)
        print(json.dumps({"errno": error.errno, "error": str(error)}))
        return
    notice = tidy_up(order.models, order.rules, {*order.verified, checkpoint.path.name})
    print(json.dumps({"name": checkpoint.path.name, "notice": notice}))


if __name__ == "__main__":
    main()
