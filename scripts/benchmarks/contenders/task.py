"""What a contender is asked to do. Plain data."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SEED = 42  # of the order of rows; the same for all


@dataclass(frozen=True, kw_only=True)
class Task:
    """One file to train, in turns."""

    model: str
    """Folder of the base model."""
    file: str
    """JSONL; it has rows for `steps`, and no more."""
    folder: str
    """What is written goes here."""
    rows_per_step: int = 16
    threads: int = 2
    first_steps: int = 2
    """Steps before the first turn, not counted."""
    turns: int = 3
    steps_per_turn: int = 8
    options: dict[str, Any] = field(default_factory=dict)
    """The contender's own."""

    @property
    def steps(self) -> int:
        """One more than is measured: a step's time ends where the next one begins."""
        return self.first_steps + self.turns * self.steps_per_turn + 1

    @property
    def rows(self) -> int:
        return self.steps * self.rows_per_step

    def write(self, path: Path) -> Path:
        """Write it as JSON; return `path`."""
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Task":
        """Return what `write` has written."""
        return cls(**json.loads(path.read_text()))
