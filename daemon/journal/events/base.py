"""What every event has: facts, a line of text, and what it shows or clears in the status."""

import logging
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from trainer.protocol.text import printable


@dataclass(frozen=True, kw_only=True)
class JournalEvent:
    """Something that happened."""

    kind: ClassVar[str]
    level: ClassVar[int] = logging.INFO
    has_traceback: ClassVar[bool] = False
    """Recorded while an exception is being handled, whose traceback belongs in the log."""

    job_id: str | None = None
    file: str | None = None
    """The name of the file it is about."""

    @property
    @abstractmethod
    def message(self) -> str:
        """One line for a person."""

    @property
    def is_logged(self) -> bool:
        """Whether it has a line of the log; not if the line of another event says the same."""
        return True

    @property
    def error(self) -> tuple[str, str] | None:
        """Class and text for `last_error` in the status; None for what is no error."""
        return None

    @property
    def ends_error(self) -> bool:
        """Whether what `last_error` in the status says is over."""
        return False

    @property
    def alert(self) -> tuple[str, str] | None:
        """Key and text of an alert that is shown until it is cleared; None for no alert."""
        return None

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        """The keys of alerts that are no longer true."""
        return ()

    def data(self) -> dict[str, Any]:
        """Return the facts as JSON values; every text is printable."""
        facts = asdict(self).items()
        return {name: _plain(value) for name, value in facts if value is not None and name != "job_id"}


@dataclass(frozen=True, kw_only=True)
class FileEvent(JournalEvent):
    """Something that happened to a file, and to its job if it has one."""


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, limit=500)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
