"""Compile a model layer by layer: its layers are alike, so one compilation serves them all."""

from torch import nn


def compile_layers(model: nn.Module) -> int:
    """Have every layer of the model's stacks compiled when it is first used; return how many will be.

    In place, so that the names of the weights stay as they are. For rows of any length (`dynamic`): else each
    new length would be compiled once more.
    """
    count = 0
    for child in model.children():
        if isinstance(child, nn.ModuleList) and len({type(layer) for layer in child}) == 1:
            for layer in child:
                layer.compile(dynamic=True)
            count += len(child)
        else:
            count += compile_layers(child)
    return count
