"""A cache of keys and values with room for tokens to come. The stock one copies everything for each token."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """The keys and values of one layer; rows of the batch can only become fewer.

    Args:
        layer: what there is already.
        room: tokens to come.
    """

    def __init__(self, layer: DynamicLayer, *, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated
        assert layer.keys is not None, "a layer that has seen no token has no shape yet"
        assert layer.values is not None, "a layer that has seen no token has no shape yet"
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._all_keys, self._all_values = (_with_room(part, room) for part in (layer.keys, layer.values))
        self._show(len(layer.keys), layer.keys.shape[-2])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append a token to each row; return the keys and values of all."""
        rows, first = len(key_states), self.get_seq_length()
        last = first + key_states.shape[-2]
        self._all_keys[:rows, :, first:last] = key_states
        self._all_values[:rows, :, first:last] = value_states
        return self._show(rows, last)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Let go of rows. Those that are kept stay where they are, or move to the front."""
        kept, tokens = indices.tolist(), self.get_seq_length()
        for place, row in enumerate(kept):
            assert row >= place, "a row that moves back would overwrite one that is still to move"
            if row > place:
                for part in (self._all_keys, self._all_values):
                    part[place, :, :tokens] = part[row, :, :tokens]
        self._show(len(kept), tokens)

    def _show(self, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        self.keys = self._all_keys[:rows, :, :tokens]
        self.values = self._all_values[:rows, :, :tokens]
        return self.keys, self.values


def make_room(cache: Any, *, room: int) -> None:
    """Give room to each layer of a cache that would copy everything; leave others as they are."""
    if type(cache) is DynamicCache:
        cache.layers = [
            RoomyLayer(layer, room=room) if type(layer) is DynamicLayer and layer.is_initialized else layer
            for layer in cache.layers
        ]


def _with_room(part: Tensor, room: int) -> Tensor:
    rows, heads, tokens, size = part.shape
    found = torch.empty(rows, heads, tokens + room, size, dtype=part.dtype, device=part.device)
    found[:, :, :tokens] = part
    return found
