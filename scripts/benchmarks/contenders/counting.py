"""Count what a peer really trains: tokens that are not padding, and tokens that are supervised."""

from collections.abc import Callable
from typing import Any

from scripts.benchmarks.contenders.side import Side
from trainer.data.rendering.render import IGNORED


class CountingCollator:
    """Notes the tokens of each batch that another collator makes."""

    def __init__(self, collate: Callable[[Any], Any], side: Side) -> None:
        self._collate = collate
        self._side = side

    def __call__(self, rows: Any) -> Any:
        batch = self._collate(rows)
        self._side.result["tokens"].append(sum(len(row["input_ids"]) for row in rows))
        # What stands first in a row is predicted by nothing
        self._side.result["supervised"].append(int((batch["labels"][:, 1:] != IGNORED).sum()))
        return batch
