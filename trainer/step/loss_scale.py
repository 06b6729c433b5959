"""Keep small gradients from vanishing in fp16: the loss is scaled up, and its gradient down again."""

from typing import Any

from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

SMALLEST = 1.0  # a gradient too large even for this is broken for another reason


class LossScale:
    """Finds the largest scale that does not overflow (Micikevicius et al., 2018), by torch's GradScaler."""

    def __init__(self, device_type: str) -> None:
        self._scaler = GradScaler(device_type)

    def scale(self, loss: Tensor) -> Tensor:
        return self._scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> bool:
        """Bring the gradient back to its size, and adapt the scale.

        Returns:
            Whether the gradient had overflowed, and the step is to be repeated with the lower scale.
        """
        before = self._scaler.get_scale()
        self._scaler.unscale_(optimizer)
        self._scaler.update()
        after = self._scaler.get_scale()
        if after < SMALLEST:
            self._scaler.update(SMALLEST)
        return SMALLEST <= after < before

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scaler.load_state_dict(state)
