"""Priority and Outcome, which folders of the queue are named after. Loads no library, for quick commands."""

from enum import StrEnum


class Priority(StrEnum):
    """How urgent a file is. Declared most urgent first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return RANKS[self]


RANKS = {priority: rank for rank, priority in enumerate(Priority)}


class Outcome(StrEnum):
    """How a job ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


OPEN_STATES = ("waiting", "processing")
"""Of jobs that have not ended."""
