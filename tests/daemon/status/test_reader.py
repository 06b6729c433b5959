"""What is said of a daemon whose status file is not there."""

import os

import pytest

from daemon.status.reader import read_status
from trainer.protocol.files import write_json
from trainer.protocol.layout import Layout

NO_PROCESS = 2**22 + 1  # more than Linux has


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    return layout


def test_a_fresh_folder_has_never_had_a_daemon(layout):
    status = read_status(layout)

    assert (status.is_gone, status.life_text()) == (True, f"not running (none has ever run in {layout.base})")


def test_where_a_ledger_is_somebody_has_trained(layout):
    layout.ledger_file.touch()

    status = read_status(layout)

    assert status.is_gone
    assert status.life_text() == "not running (there is no status/training_status.json)"


def test_a_daemon_that_runs_is_not_taken_for_gone_because_its_file_was_removed(layout):
    write_json(layout.process_file, {"pid": os.getpid()}, durable=False)

    assert read_status(layout).life == "unreadable"


@pytest.mark.parametrize("pid", [NO_PROCESS, "x"])
def test_one_that_was_killed_is_gone_also_without_its_file(layout, pid):
    write_json(layout.process_file, {"pid": pid}, durable=False)

    assert read_status(layout).is_gone
