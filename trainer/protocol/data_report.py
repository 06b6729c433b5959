"""What was found in a file's rows before training: figures, warnings, and what keeps it from training."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainer.protocol.one_shot import OneShotOrder

Level = Literal["note", "warning", "block"]
"""note: within its limit. warning: somebody should look. block: not to be trained, unless it is admitted."""

INTAKE_RULE = "rows"
"""The rule whose block keeps a file from ever being accepted, which nobody can admit."""

OUTLIERS = "outliers"
"""The rule that finds rows which do not fit among the others."""

NEVER_ADMITTED = (INTAKE_RULE, "unrenderable")
"""Rules about rows of which nothing can be made."""

Depth = Literal["standard", "deep"]
"""standard: a sample of the rows was rendered. deep: every row."""


THINK_TAGS = ("<think>", "</think>")
"""What a model writes around its thoughts."""


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class InspectionOrder(OneShotOrder):
    """Inspect a file as a worker would before training it."""

    file: str
    settings: dict[str, Any]
    base: str
    """The working directory."""
    deep: bool = False
    """Render every row instead of a sample."""


class TokenLengths(FrozenModel):
    """Tokens of the sampled rows, whole, whatever `data.max_length` is."""

    min: int
    median: int
    p95: int
    p99: int
    max: int


class Finding(FrozenModel):
    """What one rule has found, with its figure and its limit."""

    rule: str
    level: Level
    message: str
    """For a person; printable."""
    rows: int
    """How many rows it concerns."""
    share: float
    """Of the rows inspected."""
    limit: float | None = None
    """The share up to which it is only a note; None where there is no such share."""
    lines: tuple[int, ...] = ()
    """Numbers of the first lines, counted from 1."""


class DataReport(FrozenModel):
    """What a file looks like as training data."""

    file: str
    """Its name, made printable."""
    sha256: str
    job_id: str | None = None
    validation: Depth
    rows: int
    """That can be trained."""
    rejected_rows: int
    sampled_rows: int
    max_length: int
    tokens: TokenLengths | None
    """None when no row could be rendered."""
    over_max_length: float
    """Share of the sampled rows."""
    supervised_share: float
    """Part of the tokens that is supervised."""
    rows_without_target: int
    """Among the sampled rows."""
    duplicate_rows: int
    """Among all rows: exact copies of an earlier line."""
    classes: dict[str, dict[str, int]]
    """How often the most frequent labels occur among the sampled rows, by what they label."""
    think_tag_percent: float | None = None
    """Percentage of the sampled rows with thoughts in a supervised turn, as the profile has it. None in
    reports of earlier releases, and where no row could be rendered."""
    findings: tuple[Finding, ...]
    is_admitted: bool = False
    """It is to be trained, whatever was found."""

    @property
    def blocks(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "block"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "warning"]

    @property
    def can_be_admitted(self) -> bool:
        """Whether the file could be trained if somebody wanted it: all its rows can be read and rendered."""
        return not any(finding.rule in NEVER_ADMITTED for finding in self.blocks)

    @property
    def is_refused_at_intake(self) -> bool:
        """Whether it never comes as far as its rows being inspected, so that admitting it changes nothing."""
        return any(finding.rule == INTAKE_RULE for finding in self.blocks)

    @property
    def is_blocked(self) -> bool:
        """Whether the file must not be trained."""
        return bool(self.blocks) and not (self.is_admitted and self.can_be_admitted)
