"""The fingerprint of a model tells whether another one is the same, also where numbers are rounded."""

import pytest
import torch

from trainer.model.loading import load_model
from trainer.model.logits import PROMPTS, SAMPLED, difference, fingerprint_logits, is_close
from trainer.model.tiny import build_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


pytestmark = pytest.mark.usefixtures("threads")


def changed(tiny, by):
    """Return the fingerprint of a model with one changed number among its weights."""
    model, tokenizer = load_model(tiny)
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] += by
    return fingerprint_logits(model, tokenizer)


def test_the_same_model_has_the_same_fingerprint(tiny):
    one, other = (fingerprint_logits(*load_model(tiny)) for _ in range(2))

    assert one == other
    assert len(one.sample) == len(PROMPTS) * SAMPLED
    assert is_close(one, other)


def test_a_changed_weight_is_another_model(tiny):
    one, other = changed(tiny, 0.0), changed(tiny, 1.0)

    assert one.sha256 != other.sha256
    assert difference(one, other) > 0.1
    assert not is_close(one, other)


def test_rounding_is_not(tiny):
    one, other = changed(tiny, 0.0), changed(tiny, 1e-6)

    assert is_close(one, other)
    assert difference(one, other) < 1e-4


def test_a_model_with_other_numbers_of_logits_is_not_close(tiny):
    one = changed(tiny, 0.0)

    assert not is_close(one, one.model_copy(update={"sample": one.sample[:-1]}))
