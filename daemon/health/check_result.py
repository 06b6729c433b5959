"""The noun CheckResult: one thing that was checked, how it is, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class CheckResult:
    """What one check has shown. Both texts are printable."""

    name: str
    """What was checked, such as `daemon` or `disk`."""
    level: Severity
    message: str
    advice: str = ""
    """What to do; empty when nothing has to be done."""

    @property
    def is_problem(self) -> bool:
        return self.level is Severity.PROBLEM


def ok(name: str, message: str) -> CheckResult:
    """Return that something is well."""
    return CheckResult(name, Severity.OK, message)


def warning(name: str, message: str, advice: str) -> CheckResult:
    """Return that something may become a problem, or clears up on its own."""
    return CheckResult(name, Severity.WARNING, message, advice)


def problem(name: str, message: str, advice: str) -> CheckResult:
    """Return that something keeps training from continuing, or endangers what was trained."""
    return CheckResult(name, Severity.PROBLEM, message, advice)
