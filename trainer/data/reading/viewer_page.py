"""Know a page of the Hugging Face dataset viewer: its columns are described first, and its rows are wrapped.

    {"features": [{"feature_idx": 0, "name": "prompt", "type": {…}}, …],
     "rows": [{"row_idx": 0, "row": {"prompt": …}, "truncated_cells": []}, …], "num_rows_total": …}

Pure.
"""

from collections.abc import Mapping
from typing import Any

COLUMNS, ROWS = "features", "rows"
NUMBER_OF_COLUMN = "feature_idx"
ABOUT_COLUMN = {NUMBER_OF_COLUMN, "name", "type"}
WRAPPER, CUT_CELLS = {"row_idx", "row"}, "truncated_cells"


def is_about_column(key: str, item: Any) -> bool:
    """Return whether the first item of the list with this key describes a column of the rows beside it."""
    return key == COLUMNS and isinstance(item, dict) and "name" in item and item.keys() <= ABOUT_COLUMN


def is_wrapped_row(item: Any) -> bool:
    """Return whether an item of the rows is a row with the viewer's number of it."""
    if not isinstance(item, dict) or item.keys() - {CUT_CELLS} != WRAPPER:
        return False
    return isinstance(item["row"], dict) and isinstance(item.get(CUT_CELLS, []), list)


def cells_cut_off(item: Mapping[str, Any]) -> list[str]:
    """Return the names of the cells of which the viewer shows only the beginning."""
    return [str(name) for name in item.get(CUT_CELLS, [])]
