"""A command that is ended while it writes leaves nothing behind, or only what nobody trains."""

import signal
import subprocess
import sys

import pyarrow
import pytest

from daemon.files.names import is_training_file
from tests.daemon.data_tools.tables.table_files import write_arrow
from tests.support import eventually

pytestmark = pytest.mark.long

COMMANDS = {
    "convert": ["daemon.cli.training_data", "convert", "endless.arrow", "out.jsonl"],
    "add": ["daemon.cli.training_queue", "add", "endless.arrow"],
}


@pytest.fixture
def start(layout):
    """Return a function that starts a command which writes for minutes, and waits until it does."""
    write_arrow(layout.base / "endless.arrow", {"a": pyarrow.nulls(10**8)})
    processes = []

    def start(name):
        command = [sys.executable, "-m", *COMMANDS[name]]
        process = subprocess.Popen(command, cwd=layout.base, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        eventually(lambda: half_written(layout), what="a half-written file")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def half_written(layout):
    folders = [layout.base, *(path for path in layout.inbox.rglob("*") if path.is_dir())]
    return [path for folder in folders for path in folder.glob(".*") if path.suffix in (".part", ".tmp")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_ended_removes_what_it_has_written(layout, start, name, number):
    process = start(name)

    process.send_signal(number)
    _, said = process.communicate()

    assert process.returncode == 128 + number
    assert b"Traceback" not in said
    assert half_written(layout) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_killed_command_leaves_is_no_training_file(layout, start, name):
    process = start(name)

    process.kill()
    process.communicate()

    [left] = half_written(layout)
    assert not is_training_file(left.name)
