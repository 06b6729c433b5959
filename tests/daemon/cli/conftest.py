"""What tests of several commands need."""

import pytest

from tests.daemon.cli.answering import Answering
from trainer.protocol import one_shot
from trainer.protocol.layout import Layout


@pytest.fixture
def answering(monkeypatch, tmp_path):
    found = Answering(tmp_path / "answering")
    monkeypatch.setattr(one_shot, "command_of", found.command_of)
    return found


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "work")
    layout.create()
    return layout
