"""Forgetting a file gives the model that never saw it: weights, optimizer, cursors and ledger."""

import pytest

from tests.forget.histories import differences, random_history
from tests.shallow import build_shallow

# LoRA, two epochs, replay, files overtaken and put aside; test_gate.py has full training, validation, a gate.
SEED = 6  # python -m tests.forget.histories --count 20 tries more


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_model_is_bit_for_bit_what_it_would_be_without_the_file(tmp_path):
    base_model = build_shallow(tmp_path / "base", dropout=0.1)

    assert differences(tmp_path, random_history(SEED, num_forgotten=1), base_model) == []
