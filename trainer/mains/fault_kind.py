"""What is to blame for an exception: the settings, the machine, the numbers, or unknown."""

import traceback

from filelock import Timeout

from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.profiles.base import BadProfileOption, BrokenProfile, UnknownProfile
from trainer.protocol.checkpoints import NoUsableCheckpoint
from trainer.protocol.faults import (
    BrokenModel,
    MissingDevice,
    ModelUnavailable,
    NotFinite,
    UnusableModel,
    UnusableReplay,
    is_out_of_gpu_memory,
    is_out_of_memory,
)
from trainer.protocol.files import UnreadableFile
from trainer.protocol.job import FaultKind
from trainer.protocol.messages import Faulted

PROFILE_ERRORS = (UnknownProfile, BadProfileOption, BrokenProfile)
CONFIG_ERRORS = (BadConfig, LockedSetting, UnreadableFile, UnusableModel, *PROFILE_ERRORS)
ENVIRONMENT_ERRORS = (ModelUnavailable, NoUsableCheckpoint, MissingDevice, UnusableReplay, Timeout, OSError)
GPU_ERROR = "CUDA error"  # torch's words when a GPU has gone, or its driver


def classify(error: Exception) -> FaultKind:
    """Return the kind of fault an exception stands for. What is not known for certain counts as a crash."""
    if isinstance(error, CONFIG_ERRORS):
        return FaultKind.BAD_CONFIG
    if isinstance(error, NotFinite | BrokenModel):
        return FaultKind.NAN
    if is_out_of_gpu_memory(error):
        return FaultKind.GPU_OUT_OF_MEMORY
    if is_out_of_memory(error):
        return FaultKind.OUT_OF_MEMORY
    if isinstance(error, ENVIRONMENT_ERRORS) or GPU_ERROR in str(error):
        return FaultKind.ENVIRONMENT
    return FaultKind.CRASH


def describe(error: Exception, job_id: str | None) -> Faulted:
    """Return what is reported to the daemon about the exception being handled, which ends this process."""
    return Faulted(
        fault=classify(error),
        error_class=type(error).__name__,
        message=str(error),
        traceback=traceback.format_exc(),
        job_id=job_id,
        left_out=error.window if isinstance(error, NotFinite) else None,
    )
