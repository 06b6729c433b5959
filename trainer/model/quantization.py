"""A base model in 4 bits, which fits into a quarter of the memory (QLoRA: Dettmers et al., 2023)."""

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

FOR_INFERENCE = "support_avx512bf16_for_cpu"  # what the library asks its layers of 4 bits
COMPUTED_IN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def in_four_bits(*, precision: str, use_gpu: bool) -> dict[str, Any]:
    """Return the options of `from_pretrained` that load linear layers as 4-bit NormalFloat, twice quantized.

    Nothing of it is saved: from the same files the same 4-bit weights are made again.

    Args:
        precision: in which the layers compute, as their weights are unpacked for every use.
    """
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=COMPUTED_IN[precision],
    )
    # Onto the device at once: the whole weights may not fit there
    return {
        "quantization_config": config,
        "device_map": {"": torch.cuda.current_device() if use_gpu else "cpu"},
    }


def stay_trainable(model: nn.Module) -> None:
    """Keep the layers of a 4-bit model from turning themselves into ones for inference.

    On a CPU they would at the first evaluation, for good, and gradients would no longer flow through them.
    """
    for module in model.modules():
        if hasattr(module, FOR_INFERENCE):
            setattr(module, FOR_INFERENCE, False)
