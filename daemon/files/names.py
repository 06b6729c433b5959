"""Which files a name says are meant for training."""

from trainer.protocol.files import PACKED_SUFFIXES

NEVER_TAKEN_SUFFIXES = (".part", ".partial", ".tmp", ".swp", ".swx", ".crdownload", ".filepart", "~")

TRAINING_SUFFIXES = (".jsonl", *PACKED_SUFFIXES)


def is_temporary(name: str) -> bool:
    """Whether a name says that the file is not meant yet."""
    return name.startswith(".") or name.endswith(NEVER_TAKEN_SUFFIXES)


def is_training_file(name: str) -> bool:
    """Whether a name says that the file is meant for training."""
    return name.endswith(TRAINING_SUFFIXES) and not is_temporary(name)
