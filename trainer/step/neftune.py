"""Noise on the embeddings of a training step (NEFTune: Jain et al., 2023).

Shapes: T = tokens of a sequence, E = size of an embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def add_neftune_noise(embeddings: Tensor, row_lengths: Sequence[int], alpha: float) -> Tensor:
    """Return embeddings with uniform noise of strength alpha / sqrt(length of the row x E).

    Args:
        embeddings: (1, T, E) rows end to end, or (rows, T, E) padded.
        row_lengths: tokens of each row, so that its noise is that which it would have alone.
    """
    lengths = torch.tensor(row_lengths, device=embeddings.device)
    if len(embeddings) == 1:
        lengths = lengths.repeat_interleave(lengths).view(1, -1, 1)
    else:
        lengths = lengths.view(-1, 1, 1)
    strength = alpha / (lengths * embeddings.shape[-1]).sqrt()
    noisy = embeddings + torch.empty_like(embeddings).uniform_(-1, 1) * strength
    return noisy.to(embeddings.dtype)
