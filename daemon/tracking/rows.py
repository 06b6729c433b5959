"""What is sent to a tracker, whichever it is: rows of numbers and texts, each at a global step of a run."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["metrics", "answer", "settings", "note"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something at one step."""

    number: int
    """Counts the rows of a run from 1."""
    step: int
    """Global step."""
    at: float
    """Unix seconds; to the millisecond, as trackers have it."""
    kind: Kind
    values: dict[str, float] = field(default_factory=dict)
    """Of `metrics`: by names such as `train/loss`; finite."""
    name: str = ""
    """Of an `answer`: the prompt. Of a `note`: what it is about, such as `file` or `checkpoint`."""
    text: str = ""
    """For a person; JSON for `settings`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a tracker shows as one curve: a model's life, or a branch of it."""

    id: str
    name: str
    lineage: str
    """The same for all branches of a life."""
    branch: int
    """0 before the model first went back."""
    from_step: int
    """The global step that the branch continues from."""
    from_run: str | None
    """The id of the run that it continues; None for the first of a life."""
