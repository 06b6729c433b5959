"""The optimizers by name. Those the stock Trainer has are left to it; Muon is assembled here."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from transformers import PreTrainedModel

STOCK_NAMES = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
}
"""`training.optimizer` -> the stock Trainer's name for it."""


class MuonWithAdamW(Optimizer):
    """Muon for the matrices, AdamW for the rest, as one optimizer with one state (Jordan et al., 2024).

    Muon's steps are brought to the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025),
    so that one learning rate and one weight decay serve both.

    Args:
        matrices: weights of two dimensions inside the model.
        others: weights that decay, such as embeddings and head.
        undecayed: biases and norms. They are the last of the groups, as in every optimizer here.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        undecayed: list[nn.Parameter],
        *,
        weight_decay: float,
    ) -> None:
        muon = Muon([{"params": matrices}], weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        rest: list[dict[str, Any]] = [{"params": others}, {"params": undecayed, "weight_decay": 0.0}]
        adamw = AdamW(rest, weight_decay=weight_decay, fused=True)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._muon, self._adamw = muon, adamw
        self._share()

    def _share(self) -> None:
        """Let both work on the groups and the state of this one, which alone are saved and loaded."""
        self._muon.param_groups = self.param_groups[:1]
        self._adamw.param_groups = self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # it is how a state is loaded, into new groups
        self._share()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()  # type: ignore[no-untyped-call]  # not annotated
        self._adamw.step()
        return loss


def muon_with_adamw(model: PreTrainedModel, decaying: Iterable[str], *, weight_decay: float) -> MuonWithAdamW:
    """Return the optimizer of a model's trained weights.

    Args:
        decaying: names of the weights that weight decay applies to.
    """
    ends = [layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer]
    names = set(decaying)
    matrices, others, undecayed = [], [], []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if name not in names:
            undecayed.append(weight)
        elif weight.dim() == 2 and not any(weight is end for end in ends):
            matrices.append(weight)
        else:
            others.append(weight)
    return MuonWithAdamW(matrices, others, undecayed, weight_decay=weight_decay)
