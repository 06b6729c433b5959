"""Find the Arrow files of a folder that the library datasets has saved (`save_to_disk`)."""

import json
import os
from pathlib import Path
from typing import Any

from daemon.data_tools.tables.numbered_rows import BadTable
from trainer.protocol.text import printable, shell_word

STATE = "state.json"
SPLITS = "dataset_dict.json"
ORDERS = (
    "_indices_data_files",
    "_indices_files",
)  # as its first releases saved what was shuffled or selected
NAME_SHOWN = 40


def arrow_files(folder: Path) -> list[Path]:
    """Return the files of a data set, in the order of its rows.

    Raises:
        BadTable: it is another folder, or one of several splits.
    """
    if (folder / SPLITS).is_file():
        splits = _texts(_read(folder / SPLITS).get("splits"))
        if not splits:
            raise BadTable(f'{SPLITS} names no splits; expected "splits"; save the data set again')
        raise BadTable(
            f"the folder has the splits {printable(', '.join(splits))}; expected one of them, "
            f"such as {shell_word(str(folder / splits[0]))}"
        )
    if not (folder / STATE).is_file():
        raise BadTable("it is a folder; expected a file, or a folder that datasets has saved (save_to_disk)")
    state = _read(folder / STATE)
    if any(state.get(key) for key in ORDERS):
        raise BadTable(
            "the data set notes in a file of its own which rows it has, in which order, which is not read; "
            "save it again with a newer datasets (flatten_indices, save_to_disk)"
        )
    try:
        # By their names only: what is noted must not lead out of the folder
        names = [Path(part["filename"]).name for part in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise BadTable(f"{STATE} names no files; expected _data_files; save the data set again") from error
    if not names:
        raise BadTable("the data set has no files; expected at least one row")
    if missing := set(names).difference(os.listdir(folder)):
        shown = printable(min(missing), limit=NAME_SHOWN)
        raise BadTable(f'{STATE} names "{shown}", which is not in the folder; copy all of the folder again')
    return [folder / name for name in names]


def _texts(value: Any) -> list[str]:
    """Return a list of texts as it is; an empty one for anything else."""
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else []


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadTable(f"{path.name}: {error}; expected JSON; save the data set again") from error
    if not isinstance(found, dict):
        raise BadTable(f"{path.name} is not an object; save the data set again")
    return found
