"""What can go wrong with a model, by class, so that the worker can say what is to blame. Knows no torch."""

from trainer.protocol.job import Window


class ModelUnavailable(RuntimeError):
    """The base model cannot be had right now; trying again later may help."""


class UnusableModel(ValueError):
    """The base model can be had, but not be trained here."""


class MissingDevice(RuntimeError):
    """The GPU that the model was trained on cannot be used right now."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class if it has none (a timeout, for example)."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class BrokenModel(RuntimeError):
    """The weights are not finite numbers any more; they must not replace good ones."""


class UnusableReplay(RuntimeError):
    """A file that rows are to be replayed from is gone, changed or cannot be rendered."""


class NotFinite(RuntimeError):
    """Loss or gradients were not finite numbers once too often.

    Args:
        window: the steps to leave out when the job goes on from the last checkpoint.
    """

    def __init__(self, message: str, window: Window) -> None:
        super().__init__(message)
        self.window = window


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the machine or of a GPU, is used up."""
    return isinstance(error, MemoryError) or is_out_of_gpu_memory(error) or CPU_ALLOCATION in str(error)


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether an exception says that a GPU's memory is used up."""
    return type(error).__name__ == "OutOfMemoryError"  # torch's, whose module is not known here


CPU_ALLOCATION = "can't allocate memory"  # in the words of torch's allocator for the CPU
