"""What a tracker can do. One class for each kind, in a module that loads its library when it is used."""

from collections.abc import Sequence
from typing import Protocol

from daemon.tracking.rows import Row, Run


class NotSent(RuntimeError):
    """The tracker does not take rows just now; they are sent again later."""


class UnusableTracker(RuntimeError):
    """The tracker cannot work; the message says why, and what to do."""


class Tracker(Protocol):
    """Takes the rows of one run after the other.

    All of it raises NotSent if that did not work this time.
    """

    def open(self, run: Run) -> None:
        """Start a run, or continue it; also one that is open, after something has failed."""
        ...

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Return those of these rows that the run does not have; asked after a kill or a failure."""
        ...

    def send(self, rows: Sequence[Row]) -> None:
        """Hand over the next rows of the run."""
        ...

    def confirmed(self) -> int:
        """Return the number of the last row handed over that is safe, whoever is killed."""
        ...

    def close(self) -> None:
        """End the run for now; after it, all rows handed over are safe."""
        ...


def missing_package(package: str, extra: str, kind: str) -> UnusableTracker:
    """Return what is wrong if a package cannot be imported."""
    return UnusableTracker(
        f"tracking.{kind} is set, but the package {package} is not installed; install the extra: "
        f"scripts/setup {extra} (with pip: pip install 'training_daemon[{extra}]')"
    )
