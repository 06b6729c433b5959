"""A model that begins anew without a file computes in the numbers in which it did so far."""

from dataclasses import replace

import pytest

from tests.crash.replay import digest
from tests.forget.histories import Life
from tests.forget.test_kills import HISTORY
from tests.shallow import build_shallow
from trainer.checkpoints.training_state import load_forward_strategy
from trainer.protocol.layout import Layout
from trainer.session import engine

SETTINGS = {**HISTORY.settings, "training": {**HISTORY.settings["training"], "device": "cpu"}}


@pytest.fixture(autouse=True)
def bf16_is_fast(monkeypatch):
    monkeypatch.setattr("trainer.step.precision.has_bf16_instructions", lambda: True)
    monkeypatch.setattr(engine, "times_as_fast_in_bf16", lambda model: 3.0)


def test_the_first_file_of_a_model_in_bf16_is_forgotten_in_bf16(tmp_path):
    base_model = build_shallow(tmp_path / "base")
    lived = replace(HISTORY, settings=SETTINGS, forgotten=(0,))
    life, other = (
        Life(Layout(tmp_path / name), each, base_model)
        for name, each in (("with", lived), ("without", lived.without(0)))
    )
    life.live()
    other.live()
    (life.layout.models / "precision.json").unlink()  # as in a directory made of a backup

    life.forget(0)

    ours, theirs = (each.layout.models / "current_model" for each in (life, other))
    assert load_forward_strategy(ours).precision == "bf16"
    assert digest(ours) == digest(theirs)
