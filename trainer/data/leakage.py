"""The rows of files that are held out to measure what was learned: nothing of them should be trained."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from trainer.data.check import check_file
from trainer.data.row_table import RowTable
from trainer.data.rows import RowFile
from trainer.data.sketch import readable, sketch_rows
from trainer.protocol.row_fields import NO_FIELDS, Fields
from trainer.protocol.text import printable


def held_out_rows(files: Mapping[str, Path], *, max_line_bytes: int, fields: Fields = NO_FIELDS) -> RowTable:
    """Return the rows of held-out files, without malformed ones, which are refused where they are measured.

    Args:
        files: by the setting that names them, which is what people are shown.
    Raises:
        OSError: one cannot be read.
    """
    table = RowTable.temporary()
    try:
        for setting, path in files.items():
            check = check_file(path, max_line_bytes=max_line_bytes, fields=fields)
            rows = RowFile.open(
                path, sha256=check.sha256, rejected_lines=check.rejected_lines, max_line_bytes=max_line_bytes
            )
            try:
                # By its setting: two of them may name files of the same content
                key = hashlib.sha256(f"{setting}:{check.sha256}".encode()).hexdigest()
                file = table.new_file(key, printable(f"{setting} ({path.name})"))
                table.insert(file, sketch_rows(readable(rows, fields)))
            finally:
                rows.close()
    except BaseException:
        table.close()
        raise
    return table
