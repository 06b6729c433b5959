"""What a checkpoint holds beside weights and tokenizer: optimizer, schedule, scaler, random numbers, steps.

`state.safetensors` holds their tensors, `state.json` everything else of them, `steps.json` the reports of the
last steps, `way.json` and `precision.json` how rows go through the model. Nothing in them is pickled, so
nothing can be executed.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from trainer.checkpoints.tensor_tree import all_finite, load_tree, save_tree
from trainer.protocol.faults import BrokenModel
from trainer.protocol.messages import StepReport
from trainer.step.feeding_trainer import FeedingTrainer
from trainer.step.forward import ForwardStrategy

STATE = "state"  # .safetensors and .json
STEPS_FILE = "steps.json"
FORWARD_STRATEGY_FILE = "way.json"
PRECISION_FILE = "precision.json"  # an earlier release reads the other one, and knows of nothing in this
FIRST_RELEASE_OPTIMIZER = "optimizer.pt"


def write_state(trainer: FeedingTrainer, steps: Iterable[StepReport], folder: Path) -> None:
    """Write the files into `folder`."""
    state = {
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": {"last_epoch": trainer.lr_scheduler.last_epoch},  # the rest of it is settings
        "scaler": trainer.loss_scale.state_dict() if trainer.loss_scale else None,
        "random": random_state(),
    }
    if trainer.average:
        state["average"] = trainer.average.state_dict()
    save_tree(state, folder, STATE)
    strategy = asdict(trainer.forward.strategy)
    precision = {name: strategy.pop(name) for name in ("precision", "rounds_weights")}
    (folder / FORWARD_STRATEGY_FILE).write_text(json.dumps(strategy))
    (folder / PRECISION_FILE).write_text(json.dumps(precision))
    (folder / STEPS_FILE).write_text(json.dumps([step.model_dump(mode="json") for step in steps]))


def load_forward_strategy(folder: Path) -> ForwardStrategy | None:
    """Return how rows went through the model; None where a checkpoint of an earlier release does not say."""
    paths = [folder / name for name in (FORWARD_STRATEGY_FILE, PRECISION_FILE)]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    return (
        ForwardStrategy(**{name: value for part in found for name, value in part.items()}) if found else None
    )


def load_state(trainer: FeedingTrainer, folder: Path) -> list[StepReport]:
    """Bring everything back as it was; return the reports of the last steps."""
    if (old := folder / FIRST_RELEASE_OPTIMIZER).exists():
        trainer.optimizer.load_state_dict(torch.load(old, map_location="cpu", weights_only=True))
    else:
        state = load_tree(folder, STATE)
        trainer.optimizer.load_state_dict(state["optimizer"])
        if trainer.loss_scale and state["scaler"]:
            trainer.loss_scale.load_state_dict(state["scaler"])
        restore_random(state["random"])
        trainer.continue_average(state.get("average"))
    return load_steps(folder)


def load_steps(folder: Path) -> list[StepReport]:
    """Return the reports of the last steps before a checkpoint."""
    return [StepReport.model_validate(step) for step in json.loads((folder / STEPS_FILE).read_text())]


def random_state() -> dict[str, Any]:
    """Return the state of every generator, as numbers, lists and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": {
            "name": name,
            "keys": [int(key) for key in keys],
            "position": position,
            "has_gauss": has_gauss,
            "cached": cached,
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random(state: dict[str, Any]) -> None:
    """Set every generator to a state of `random_state`. A GPU that is not there any more is left out."""
    python, numbers = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss"]))
    keys = numpy.array(numbers["keys"], dtype=numpy.uint32)
    numpy.random.set_state(
        (numbers["name"], keys, numbers["position"], numbers["has_gauss"], numbers["cached"])
    )
    torch.set_rng_state(state["torch"])
    for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state, device)


def refuse_broken(trainer: FeedingTrainer) -> None:
    """Make sure that no tensor of weights or optimizer holds a NaN or an infinity.

    Raises:
        BrokenModel: one does.
    """
    named = [(name, weight) for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    tensors = [(name, weight.detach()) for name, weight in named]
    for name, weight in named:
        state = trainer.optimizer.state.get(weight, {})
        tensors += [(f"{key} of {name}", value) for key, value in state.items() if _is_float(value)]
    if all_finite([tensor for _, tensor in tensors]):
        return
    broken = next(name for name, tensor in tensors if not torch.isfinite(tensor).all())
    raise BrokenModel(
        f"{broken} holds numbers that are not finite, so nothing was saved and the previous "
        "checkpoint stays the newest; lower training.learning_rate, and check the newest rows"
    )


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
