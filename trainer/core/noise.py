"""Noise on the embeddings while a step is computed (NEFTune: Jain et al., 2023), as transformers has it."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.integrations.neftune import activate_neftune, deactivate_neftune


@contextmanager
def noisy_embeddings(model: PreTrainedModel, alpha: float | None) -> Iterator[None]:
    """Have noise of strength `alpha` added until the block ends; none if it is None."""
    if alpha is None:
        yield
        return
    hook = activate_neftune(model, alpha)
    try:
        yield
    finally:
        deactivate_neftune(model, hook)
