"""A disk of a few megabytes, to be filled and write-protected.

It lies in memory and in a namespace of its own, so it needs no rights and nobody else sees it.
"""

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

SIZE = "6m"


class SmallDisk:
    """A file system in memory, mounted at `mount_point` for those who `enter` it.

    Args:
        mount_point: an empty folder.
    """

    def __init__(self, mount_point: Path) -> None:
        self.base = mount_point / "base"
        """The working directory as those see it who entered."""
        script = f"mount -t tmpfs -o size={SIZE} none '{mount_point}' && echo ready && cat"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"ready\n":
            _, said = self._holder.communicate()
            pytest.skip(f"no file system may be mounted here: {said.decode().strip()}")
        top = Path(f"/proc/{self._holder.pid}/root{mount_point}")
        (top / "base").mkdir()
        self._filling = top / "filling"
        self._descriptor = os.open(top / "base", os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._holder.communicate()  # the end of its input ends it, and with it the file system

    @property
    def seen_from_here(self) -> Path:
        """The working directory for whoever has not entered; it stays writable here when it is protected."""
        return Path(f"/proc/self/fd/{self._descriptor}")

    @property
    def enter(self) -> tuple[str, ...]:
        """Words before a command that is to run where the disk is mounted."""
        target = ["--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        return ("nsenter", *target, f"--wd={Path.cwd()}")

    def fill(self) -> None:
        """Leave no space at all."""
        with self._filling.open("wb", buffering=0) as filling, contextlib.suppress(OSError):
            while True:
                filling.write(bytes(1 << 12))

    def free(self) -> None:
        """Give the space back."""
        self._filling.unlink()

    def protect(self) -> None:
        """Make the working directory read-only, for whatever is opened in it from now on."""
        self._run("mount", "--bind", str(self.base), str(self.base))
        self._run("mount", "-o", "remount,bind,ro", str(self.base))

    def unprotect(self) -> None:
        """Make it writable again."""
        self._run("umount", "--lazy", str(self.base))

    def _run(self, *command: str) -> None:
        subprocess.run([*self.enter, *command], check=True)
