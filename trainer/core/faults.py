"""What can go wrong with a model, by class, so that the worker can say whose fault it was. Knows no torch."""


class ModelUnavailable(RuntimeError):
    """The base model cannot be had right now; trying again later may help."""


class UnusableModel(ValueError):
    """The base model can be had, but not be trained here."""


class NoUsableCheckpoint(RuntimeError):
    """There are checkpoints, and none of them can be used."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class if it has none (a timeout, for example)."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class BrokenModel(RuntimeError):
    """The weights are not finite numbers any more; they must not replace good ones."""
