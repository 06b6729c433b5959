"""What went wrong, in words for people; programs get the name as it is recorded."""

from trainer.protocol.job import FaultKind

WORDS = {
    FaultKind.BAD_DATA: "bad data",
    FaultKind.BAD_CONFIG: "invalid settings",
    FaultKind.ENVIRONMENT: "environment",
    FaultKind.OUT_OF_MEMORY: "out of memory",
    FaultKind.GPU_OUT_OF_MEMORY: "out of GPU memory",
    FaultKind.NAN: "loss or gradients not finite",
    FaultKind.HANG: "hang",
    FaultKind.CRASH: "crash",
    FaultKind.REQUEST: "on request",
}

NO_LOSS = "none (not finite, or no supervised token)"  # of a step


def fault_words(recorded: str) -> str:
    """Return what a recorded kind of fault means; what is none, such as `completed`, is returned as it is."""
    return WORDS[FaultKind(recorded)] if recorded in list(FaultKind) else recorded
