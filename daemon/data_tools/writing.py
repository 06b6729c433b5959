"""Write a new file that appears whole or not at all, and replaces nothing unless asked to."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from trainer.protocol.files import shortened, sync_directory
from trainer.protocol.text import printable

SUFFIX = ".jsonl"
ELSEWHERE = "give another name"
LONGEST_NAME_BYTES = 200  # of the part that is taken over into the name of an unfinished file


class BadOutput(ValueError):
    """A file cannot be written there; the message says why."""


@contextmanager
def new_file(
    path: Path,
    *,
    replace: bool,
    inputs: Collection[Path] = (),
    suffix: str = SUFFIX,
    elsewhere: str = ELSEWHERE,
) -> Iterator[BinaryIO]:
    """Yield a file to write to; it gets its name when the block ends well, and is forgotten otherwise.

    Args:
        replace: whether a file of this name may be replaced.
        inputs: files that are never replaced.
        suffix: what its name must end in.
        elsewhere: how another name is given.
    Raises:
        BadOutput: the name is taken, is that of an input, or does not fit.
    """
    refuse_output(path, replace=replace, inputs=inputs, suffix=suffix, elsewhere=elsewhere)
    # Same folder: a rename must not cross file systems. Told from others by its process
    partial = path.with_name(f".{shortened(path.name, LONGEST_NAME_BYTES)}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not replace:
            _claim(path)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)


def refuse_output(
    path: Path,
    *,
    replace: bool,
    inputs: Collection[Path] = (),
    suffix: str = SUFFIX,
    elsewhere: str = ELSEWHERE,
) -> None:
    """Say before any work is done that a file cannot be written.

    Raises:
        BadOutput: the name is taken, is that of an input, or does not fit.
    """
    shown = printable(str(path))
    if path.suffix != suffix:
        raise BadOutput(f"{shown}: expected a name that ends in {suffix}; nothing was written")
    if not path.parent.is_dir():
        raise BadOutput(f"{shown}: the folder does not exist; create it first; nothing was written")
    if not os.path.lexists(path):
        return
    if any(path.exists() and path.samefile(source) for source in inputs):
        raise BadOutput(f"{shown} is the input; {elsewhere}; nothing was written")
    if path.is_dir():
        raise BadOutput(f"{shown} is a folder; expected the name of a file; nothing was written")
    if not replace:
        raise BadOutput(f"{shown} exists; {elsewhere}, or --force to replace it; nothing was written")


def _claim(path: Path) -> None:
    """Take a name that nobody has taken since it was checked."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise BadOutput(
            f"{printable(str(path))} has just been created by another process; try again"
        ) from error
