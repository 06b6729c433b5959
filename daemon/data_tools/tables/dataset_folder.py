"""Find the Arrow files of a folder that the library datasets has saved (`save_to_disk`)."""

import json
from pathlib import Path
from typing import Any

from daemon.data_tools.tables.numbered_rows import BadTable
from trainer.protocol.text import printable

STATE = "state.json"
SPLITS = "dataset_dict.json"


def arrow_files(folder: Path) -> list[Path]:
    """Return the files of a data set, in the order of its rows.

    Raises:
        BadTable: it is another folder, or one of several splits.
    """
    if (folder / SPLITS).is_file():
        splits = _read(folder / SPLITS).get("splits", [])
        first = splits[0] if splits else "train"
        raise BadTable(
            f"the folder has the splits {printable(', '.join(map(str, splits)))}; expected one of them, "
            f"such as {printable(str(folder / str(first)))}"
        )
    if not (folder / STATE).is_file():
        raise BadTable("it is a folder; expected a file, or a folder that datasets has saved (save_to_disk)")
    try:
        # By their names only: what is noted must not lead out of the folder
        names = [Path(part["filename"]).name for part in _read(folder / STATE)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise BadTable(f"{STATE} names no files; expected _data_files; save the data set again") from error
    if not names:
        raise BadTable("the data set has no files; expected at least one row")
    return [folder / name for name in names]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadTable(f"{path.name}: {error}; expected JSON; save the data set again") from error
    if not isinstance(found, dict):
        raise BadTable(f"{path.name} is not an object; save the data set again")
    return found
