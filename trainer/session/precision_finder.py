"""Find by measuring whether a new model is to compute in bf16 on this processor, and keep what was found.

A model keeps its precision for life, as its checkpoints say in what they were trained. Before the first of
them, `models/precision.json` says so: steps that are taken again after a crash give the same weights.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.session.batch_size_finder import device_name, shape_sha256
from trainer.step.precision import has_bf16_instructions

FILE_NAME = "precision.json"
FEWEST_WEIGHTS = 2_000_000  # the step of a smaller model is hardly products
WORTHWHILE_RATIO = 1.5  # of products; a step gains about half of that
ROWS = 1024  # tokens at once
REPETITIONS = 15  # in turns, and the fastest counts: whatever disturbs a measurement makes it slower
LONG_ENOUGH_S = 3.0

BOTH = (torch.float32, torch.bfloat16)

logger = logging.getLogger(__name__)


class FoundPrecision(BaseModel):
    """What was found for the model that this folder began with."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1] = 1
    model: str
    device: str
    precision: Literal["bf16", "fp32"]
    times_as_fast: float | None
    """Products of the model in bf16 against fp32; None where nothing was to be measured."""


def times_as_fast_in_bf16(
    model: PreTrainedModel, *, clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Return how many times as fast the largest layer multiplies in bf16; None where that is of no use.

    Whole steps would say more, but the two are often so close that the same files would now be trained in
    one, now in the other.
    """
    if not has_bf16_instructions() or model.num_parameters() < FEWEST_WEIGHTS:
        return None
    layers = [module.weight for module in model.get_decoder().modules() if isinstance(module, nn.Linear)]
    if not layers:
        return None
    largest = max(layers, key=torch.Tensor.numel)
    pairs = [(torch.ones(ROWS, largest.shape[1], dtype=dtype), largest.detach().to(dtype)) for dtype in BOTH]
    best, started_at = [float("inf")] * len(BOTH), clock()
    for repetition in range(REPETITIONS):
        for which, pair in enumerate(pairs):
            started = clock()
            linear(*pair)
            if repetition:  # the first also compiles the product
                best[which] = min(best[which], clock() - started)
        if repetition and clock() - started_at > LONG_ENOUGH_S:
            break
    in_fp32, in_bf16 = best
    return in_fp32 / in_bf16


def bf16_is_faster(
    model: PreTrainedModel,
    file: Path,
    *,
    measure: Callable[[PreTrainedModel], float | None] | None = times_as_fast_in_bf16,
) -> bool:
    """Return whether a new model is to compute in bf16 on this processor, as `file` says or else measured.

    Args:
        measure: None where this process must not decide.
    Raises:
        OSError: the file cannot be written.
    """
    model_shape, device = shape_sha256(model), device_name(model.device)
    found = _read(file)
    if found is None or (found.model, found.device) != (model_shape, device):
        if measure is None:
            return False
        ratio = measure(model)
        found = FoundPrecision(
            model=model_shape,
            device=device,
            precision="bf16" if ratio and ratio >= WORTHWHILE_RATIO else "fp32",
            times_as_fast=ratio,
        )
        write_json(file, found.model_dump(mode="json"), durable=True)  # before a step depends on it
        if ratio:
            logger.info("bf16 products are %.1f times as fast as fp32: %s", ratio, found.precision)
    return found.precision == "bf16"


def _read(file: Path) -> FoundPrecision | None:
    try:
        return FoundPrecision.model_validate(read_json(file))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (UnreadableFile, ValidationError) as error:
        logger.warning("%s is damaged, so the precision is measured again: %s", file, error)
        return None
