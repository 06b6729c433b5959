"""What a deep inspection of a file's rows finds: duplicates of several kinds, and private data."""

from typing import Literal, get_args

from trainer.protocol.data_report import Finding, FrozenModel

PrivatePattern = Literal[
    "email",
    "phone",
    "iban",
    "credit_card",
    "ipv4",
    "private_key",
    "aws_key",
    "github_token",
    "slack_token",
    "google_key",
    "jwt",
]
PRIVATE_PATTERNS: tuple[PrivatePattern, ...] = get_args(PrivatePattern)


class Place(FrozenModel):
    """A row, and one that is like it."""

    line: int
    """Counted from 1, as all lines here."""
    other_file: str
    """Printable."""
    other_line: int
    similarity: float
    """1 for the same text."""


class Duplicates(FrozenModel):
    """Rows that are like others."""

    exact: int = 0
    """Rows that say the same but for spaces and case."""
    near: int = 0
    """Rows that have about 80 % or more of their runs of words in common."""
    first: tuple[Place, ...] = ()

    @property
    def total(self) -> int:
        return self.exact + self.near


class PrivateData(FrozenModel):
    """Rows that hold private data of one kind."""

    pattern: PrivatePattern
    rows: int
    first: tuple[tuple[int, str], ...]
    """Line, and the beginning of what was found; the whole of it is shown nowhere."""


class DeepFindings(FrozenModel):
    """What was found in one file."""

    rows: int
    """That were inspected."""
    trained_before: Duplicates
    """Rows of files that were trained before."""
    within_file: Duplicates
    """Rows that are like an earlier one of the same file."""
    held_out: Duplicates
    """Rows of files that the model is measured with."""
    private_data: tuple[PrivateData, ...] = ()
    findings: tuple[Finding, ...] = ()
    """The same in the words of a report."""

    @property
    def messages(self) -> tuple[str, ...]:
        """What a person should know, a sentence each."""
        return tuple(finding.message for finding in self.findings)
