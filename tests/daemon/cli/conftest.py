"""What tests of several commands need."""

import pytest

from tests.daemon.cli.answering import Answering
from trainer.protocol import one_shot


@pytest.fixture
def answering(monkeypatch, tmp_path):
    found = Answering(tmp_path / "answering")
    monkeypatch.setattr(one_shot, "command_of", found.command_of)
    return found
