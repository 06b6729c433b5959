"""The loss of one micro-batch. Shapes: B = rows, T = tokens of the longest row, V = vocabulary."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer.data.render import IGNORED


def supervised_loss(model: nn.Module, token_ids: Tensor, labels: Tensor, *, num_items: int) -> Tensor:
    """Return the summed cross entropy at the supervised positions, divided by `num_items`.

    Divided by the supervised tokens of the whole step (not of this micro-batch), so that the parts of a step
    add up to the same loss and gradient however its rows are split.

    Args:
        model: a causal language model of the transformers library, perhaps wrapped.
        token_ids: (B, T) padded on the right. No attention mask is needed: causal attention
            never looks right.
        labels: (B, T) IGNORED where nothing is learned, padding included.
        num_items: supervised tokens of the whole optimizer step.
    """
    logits = model(input_ids=token_ids, use_cache=False).logits
    targets = labels[:, 1:]
    supervised = targets != IGNORED
    return cross_entropy(logits[:, :-1][supervised].float(), targets[supervised], reduction="sum") / max(
        1, num_items
    )
