"""What a message advises a person to do. Its commands name no folder; what displays them adds it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.protocol.layout import BASE_DIR_VARIABLE, Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.status.reader import Status

# Kept, because commands change the variable for `--base-dir` before a subcommand
SHELLS_BASE_DIR = os.environ.get(BASE_DIR_VARIABLE)

# Said where the lock of a folder is held, and no daemon runs that could be asked
SOMEBODY_ACTS = (
    "a daemon is just starting here, or a command has the model go back, forget a file or merge its adapter; "
    "when it is over, try again"
)


def is_shells_folder(layout: Layout) -> bool:
    """Whether a command that is typed without `--base-dir` is about this folder."""
    return layout.base == Path(SHELLS_BASE_DIR or ".").absolute()


def to_get_a_daemon(status: "Status") -> str:
    """Return what to do where no daemon can obey. One that is silent holds its lock: another cannot start."""
    if status.is_gone:
        return "start one with: training_daemon start"
    return "see what is wrong: training_health check"


def no_working_directory(layout: Layout) -> str:
    """Return what to say of a folder that is no working directory."""
    base = printable(str(layout.base))
    found = "is not a working directory (it has no queue/)" if layout.base.is_dir() else "is not a folder"
    correct = f"correct {BASE_DIR_VARIABLE}, " if is_of_environment(layout) else ""
    return f"{base} {found}; {correct}give one with --base-dir, or create one: training_daemon init"


def no_folder(layout: Layout) -> str:
    """Return what to say where a folder is needed, whether or not it is a working directory."""
    source = BASE_DIR_VARIABLE if is_of_environment(layout) else "--base-dir"
    return f"{printable(str(layout.base))} is not a folder; correct {source}"


def is_of_environment(layout: Layout) -> bool:
    """Whether the user's environment names this folder."""
    return bool(SHELLS_BASE_DIR) and layout.base == Path(str(SHELLS_BASE_DIR)).absolute()
