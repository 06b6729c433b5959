"""How the learning rate changes. Pure: functions of step numbers and settings, so nothing is saved."""

import math

from trainer.config.schema import TrainingSettings


def learning_rate(
    settings: TrainingSettings, *, global_step: int, step: int = 0, num_steps: int = 1
) -> float:
    """Return the learning rate of one optimizer step.

    Args:
        global_step: steps the model has had before in its life; the warm-up counts these.
        step: of the file, counted from 0; the schedule counts these.
        num_steps: of the whole file, all epochs together.
    """
    left = 1 - step / num_steps
    match settings.schedule:
        case "constant_with_warmup":
            share = 1.0
        case "cosine":
            share = cosine_share(left)
        case "wsd":  # warm-up, stable, decay: Hu et al., "MiniCPM", 2024
            share = min(1.0, left / settings.decay_fraction)
    final = settings.final_learning_rate_fraction
    warm = settings.learning_rate * warmup_factor(global_step, settings.warmup_steps)
    return warm * (final + (1 - final) * share)


def warmup_factor(global_step: int, warmup_steps: int) -> float:
    """Return the share of the learning rate that step `global_step` (counted from 0) is taken with."""
    return min(1.0, (global_step + 1) / (warmup_steps + 1))


def cosine_share(left: float) -> float:
    """Return half a cosine: 1 while all of the file is left, 0 at its end (Loshchilov and Hutter, 2017)."""
    return (1 - math.cos(math.pi * left)) / 2
