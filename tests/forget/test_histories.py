"""Forgetting a file gives the model that never saw it: weights, optimizer, cursors and ledger."""

import pytest

from tests.forget.histories import differences, random_history
from tests.shallow import build_shallow

# What the first has: full, replay, a gate, files put aside. python -m tests.forget.histories tries more
SEEDS = (2, pytest.param(6, marks=pytest.mark.long))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_is_bit_for_bit_what_it_would_be_without_the_file(tmp_path, seed):
    base_model = build_shallow(tmp_path / "base", dropout=0.1)

    assert differences(tmp_path, random_history(seed, num_forgotten=1), base_model) == []
