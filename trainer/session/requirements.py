"""Refuse settings that this machine cannot honour, before any file is touched."""

import os
import shutil
from importlib import import_module

import torch
from transformers.utils.import_utils import is_torch_tf32_available

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings, TrainingSettings
from trainer.protocol.faults import MissingDevice

EIGHT_BIT = ("adamw_8bit", "paged_adamw_8bit")


def refuse_impossible(training: TrainingSettings) -> None:
    """Make sure that everything asked for can be done here.

    Raises:
        BadConfig: something cannot.
        MissingDevice: a GPU is asked for, and there is none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise MissingDevice(
            'training.device is "cuda", but no GPU can be used now; check nvidia-smi, or set it to "cpu"'
        )
    has_gpu = training.device != "cpu" and torch.cuda.is_available()
    _refuse_missing_library(training)
    _refuse_optimizer(training.optimizer, has_gpu)
    if training.precision == "fp16" and not has_gpu:
        raise BadConfig(
            'training.precision is "fp16", but there is no GPU to compute on; expected a GPU; use "auto"'
        )
    if training.precision == "fp16" and training.processes > 1:
        raise BadConfig(
            f'training.precision is "fp16", but training.processes is {training.processes}, each of which '
            'would scale its loss differently; use "bf16" or "fp32", or one process'
        )
    if training.tf32 and has_gpu and not is_torch_tf32_available():
        raise BadConfig(
            "training.tf32 is true, but this GPU has no TF32; expected one of Ampere's generation or later; "
            "set it to false"
        )
    if training.compile and not shutil.which(compiler := os.environ.get("CXX", "g++")):
        raise BadConfig(
            f'training.compile is true, but there is no C++ compiler "{compiler}"; install g++, name another '
            "in CXX, or set training.compile to false"
        )


def refuse_without_daemon(settings: Settings) -> None:
    """Make sure that nothing is asked for that only a daemon can do.

    Raises:
        BadConfig: something is.
    """
    if fraction := settings.training.replay_fraction:
        raise BadConfig(
            f"training.replay_fraction is {fraction}; expected 0 with run_job, which knows of no "
            "completed files; set it to 0, or let the daemon train the file"
        )
    if settings.gate.enabled:
        raise BadConfig(
            "gate.enabled is true; expected false with run_job, which cannot let the model go back; "
            "set it to false, or let the daemon train the file"
        )


def _refuse_missing_library(training: TrainingSettings) -> None:
    """Make sure that bitsandbytes can be loaded if it is needed."""
    if training.method == "qlora":
        asked, way_out = 'training.method is "qlora"', 'use "lora"'
    elif training.optimizer in EIGHT_BIT:
        asked, way_out = f'training.optimizer is "{training.optimizer}"', 'use "adamw"'
    else:
        return
    try:
        import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError) as error:
        raise BadConfig(
            f"{asked}, which needs the library bitsandbytes, but: {error}; "
            f"install it (scripts/setup qlora), or {way_out}"
        ) from error


def _refuse_optimizer(optimizer: str, has_gpu: bool) -> None:
    if optimizer == "paged_adamw_8bit" and not has_gpu:
        raise BadConfig(
            'training.optimizer is "paged_adamw_8bit", which keeps its state beside the GPU, but there is no '
            'GPU to compute on; use "adamw_8bit"'
        )
