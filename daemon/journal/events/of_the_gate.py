"""Events of the gate, which takes back the files that make the model worse."""

import logging
from dataclasses import dataclass

from daemon.journal.events.base import JournalEvent

FILES_NAMED = 5


def _names(files: tuple[str, ...]) -> str:
    more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
    return ", ".join(files[:FILES_NAMED]) + more


@dataclass(frozen=True, kw_only=True)
class GatePassed(JournalEvent):
    """The gate has compared the model with what it was before some files, and keeps them."""

    kind = "gate_passed"
    outcome: str
    """`passed`; `admitted`: worse, but somebody wants the file; `unjudged`: nothing could be compared."""
    files: tuple[str, ...]
    from_step: int
    global_step: int
    reason: str
    """The numbers in words."""

    @property
    def message(self) -> str:
        return f"the gate: {self.outcome}: {_names(self.files)}: {self.reason}"

    @property
    def cleared_alerts(self) -> tuple[str, ...]:
        return ("gate",)


@dataclass(frozen=True, kw_only=True)
class GateRefused(GatePassed):
    """The model is worse than before some files, so it goes back to what it was. Its outcome is `refused`."""

    kind = "gate_refused"
    level = logging.WARNING

    @property
    def message(self) -> str:
        number = len(self.files)
        return super().message + (f"; each of these {number} files is judged alone" if number > 1 else "")


@dataclass(frozen=True, kw_only=True)
class GateStuck(JournalEvent):
    """The model is to go back for the gate, and cannot. It is tried again."""

    kind = "gate_stuck"
    level = logging.ERROR
    problem: str

    @property
    def message(self) -> str:
        return f"the gate refuses a file, but {self.problem}; it is tried again"

    @property
    def alert(self) -> tuple[str, str]:
        return ("gate", self.message)
