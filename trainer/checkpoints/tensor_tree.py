"""Keep nested dictionaries and lists of tensors and plain values in two files, without pickling anything.

`NAME.safetensors` holds the tensors, `NAME.json` everything else, with a reference in place of each tensor.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_tree(value: Any, folder: Path, name: str) -> None:
    """Write a value.

    Raises:
        TypeError: it holds something that is neither tensor, dictionary, list, text, number nor None.
    """
    tensors: dict[str, Tensor] = {}
    tree = _take_apart(value, tensors, {})
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(tree))


def load_tree(folder: Path, name: str) -> Any:
    """Return a value as it was written, its tensors on the CPU."""
    tensors = load_file(folder / f"{name}.safetensors")
    return _put_together(json.loads((folder / f"{name}.json").read_text()), tensors)


def _take_apart(value: Any, tensors: dict[str, Tensor], keys: dict[int, str]) -> Any:
    match value:
        case Tensor():
            # A tensor that is met twice, such as a table that the states of many weights share, is kept once
            key = keys.setdefault(id(value), f"t{len(tensors)}")
            if key not in tensors:
                tensors[key] = value.detach().contiguous()
            return {"tensor": key}
        case dict():  # as pairs: a key may be a number, which JSON would make a text
            return {"dict": [[key, _take_apart(item, tensors, keys)] for key, item in value.items()]}
        case list() | tuple():
            return {"list": [_take_apart(item, tensors, keys) for item in value]}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"{value!r} cannot be kept in a checkpoint; expected a tensor or a plain value")


def _put_together(tree: Any, tensors: dict[str, Tensor]) -> Any:
    match tree:
        case {"tensor": key}:
            return tensors[key]
        case {"dict": pairs}:
            return {key: _put_together(item, tensors) for key, item in pairs}
        case {"list": items}:
            return [_put_together(item, tensors) for item in items]
    return tree


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether no element is a NaN or an infinity. Reads every element once, at the speed of memory.

    A sum is not finite if one of its terms is not. It may also overflow, so then one has to look closer.
    """
    sums = [tensor.sum(dtype=torch.float32) for tensor in tensors]
    if not sums or bool(torch.isfinite(torch.stack(sums)).all()):
        return True
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
