"""The loss of each row under a model that is not being trained."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from trainer.data.rendering.render import RowExamples
from trainer.evaluation.paired_difference import RowLoss
from trainer.step.forward import Forward, ForwardStrategy


@torch.no_grad()
def row_losses(
    model: PreTrainedModel, rows: Sequence[RowExamples], *, tell: Callable[[int], object]
) -> list[RowLoss]:
    """Return the loss of each row, computed alone, so that none depends on what lies beside it.

    Args:
        model: in evaluation mode.
        tell: called with how many rows are done.
    """
    forward = Forward(model, ForwardStrategy())
    losses = []
    for number, examples in enumerate(rows, 1):
        supervised = [example for example in examples if example.supervised_tokens]
        summed = sum(float(forward.summed_loss([example])) for example in supervised)
        losses.append(RowLoss(summed, sum(example.supervised_tokens for example in supervised)))
        tell(number)
    return losses
