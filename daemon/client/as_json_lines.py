"""Read a table as the JSON Lines that would be added, from a copy that is gone afterwards. Adds nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from daemon.client.converted_copy import CONVERTED_SUFFIXES, converted, is_table
from daemon.client.errors import FileRefused
from daemon.files.names import TRAINING_SUFFIXES, is_temporary, is_training_file
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from trainer.config.schema import DataSettings
    from trainer.protocol.data_report import Finding, Level

NAME_RULE = "name"
UNDONE = "it would not be added"


@contextmanager
def as_json_lines(file: Path, settings: "DataSettings") -> Iterator[Path]:
    """Yield a file of rows: itself, or a copy of what `training_queue add` would make of a table.

    Whatever is called like a file to be trained is taken as it is, because the daemon would do so.

    Raises:
        NotATrainingFile: it is a table that cannot be converted as a whole.
    """
    if not is_inspected_as_table(file):
        yield file
        return
    with (
        TemporaryDirectory(prefix="training_data-") as folder,
        converted(file, Path(folder), settings, number=0, undone=UNDONE) as copy,
    ):
        path = copy.path.rename(Path(folder, copy.name))
        try:
            yield path
        except FileRefused as error:  # nobody knows the copy
            shown = str(error).replace(printable(str(path)), printable(str(file)))
            raise FileRefused(shown, is_bad_config=error.is_bad_config) from error


def is_inspected_as_table(file: Path) -> bool:
    """Whether a file is not read as it is."""
    return file.is_dir() or (file.is_file() and not is_training_file(file.name) and is_table(file))


def findings_on_name(file: Path) -> "tuple[Finding, ...]":
    """Return what has to be known about a file that `inbox/` would not take as it is."""
    if is_inspected_as_table(file):
        how = "inspected as the JSON Lines that training_queue add makes of it, row by row"
        return (_finding("note", f"it is {_kind_of(file)}, {how}"),)
    if is_training_file(file.name):
        return ()
    shown = printable(file.name)
    if not is_temporary(file.name) and file.suffix.lower() in CONVERTED_SUFFIXES:
        way_out = "add it with training_queue add, or rename it"
    else:
        way_out = "rename it"
    expected = " or ".join(TRAINING_SUFFIXES)
    message = (
        f'inbox/ does not take a file named "{shown}"; expected a name that ends in {expected}; {way_out}'
    )
    return (_finding("warning", message),)


def _kind_of(table: Path) -> str:
    from daemon.data_tools.tables.opening import kind_of_file

    kind = None if table.is_dir() else kind_of_file(table)
    return kind.value if kind else "a folder that datasets has saved"


def _finding(level: "Level", message: str) -> "Finding":
    from trainer.protocol.data_report import Finding

    return Finding(rule=NAME_RULE, level=level, message=message, rows=0, share=0)
