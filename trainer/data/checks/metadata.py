"""How many rows of a file have which skill, difficulty and source. For people; never trained."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from trainer.protocol.text import printable

COUNTED = ("skill", "difficulty", "source")
VALUES_KEPT = 20  # of each; memory must stay flat, and so must the ledger
VALUE_CHARACTERS = 60
OTHERS = "(others)"


class MetadataCounts:
    """Counts row by row."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {key: Counter() for key in COUNTED}

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Count what one row says. What is no text or number is left out."""
        for key, counts in self._counts.items():
            value = metadata.get(key)
            if isinstance(value, str | int | float):
                shown = printable(str(value), limit=VALUE_CHARACTERS)
                counts[shown if shown in counts or len(counts) < VALUES_KEPT else OTHERS] += 1

    def summary(self) -> dict[str, dict[str, int]]:
        """Return `{"skill": {"reverse": 40, …}, …}`, the most frequent first; no key that no row has."""
        return {key: dict(counts.most_common()) for key, counts in self._counts.items() if counts}
