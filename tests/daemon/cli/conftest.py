"""What tests of several commands need."""

import pytest

from daemon.client import helper_process
from tests.daemon.cli.answering import Answering


@pytest.fixture
def answering(monkeypatch, tmp_path):
    found = Answering(tmp_path / "answering")
    monkeypatch.setattr(helper_process, "command_of", found.command_of)
    return found
