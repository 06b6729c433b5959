"""The rows of files that are held out to measure the model with: none of them should be trained."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from trainer.data.checks.file_check import MAX_UNPACKED_BYTES, check_file
from trainer.data.checks.minhash import minhash_rows, readable
from trainer.data.checks.row_table import RowTable
from trainer.data.reading.rows import RowFile
from trainer.protocol.row_fields import NO_FIELDS, Fields
from trainer.protocol.text import printable


def held_out_rows(
    files: Mapping[str, Path],
    *,
    max_line_bytes: int,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    fields: Fields = NO_FIELDS,
    scratch: Path | None = None,
) -> RowTable:
    """Return the rows of held-out files. Malformed rows and files are refused where they are measured.

    Args:
        files: by the setting that names them, which is what people are shown.
        scratch: as for `RowFile.open`.
    Raises:
        OSError: one cannot be read.
    """
    table = RowTable.temporary()
    try:
        for setting, path in files.items():
            check = check_file(
                path, max_line_bytes=max_line_bytes, max_unpacked_bytes=max_unpacked_bytes, fields=fields
            )
            if check.refusal:
                continue
            rows = RowFile.open(
                path,
                sha256=check.sha256,
                rejected_lines=check.rejected_lines,
                max_line_bytes=max_line_bytes,
                scratch=scratch,
            )
            try:
                # By its setting: two of them may name files of the same content
                key = hashlib.sha256(f"{setting}:{check.sha256}".encode()).hexdigest()
                file = table.new_file(key, printable(f"{setting} ({path.name})"))
                table.insert(file, minhash_rows(readable(rows, fields)))
            finally:
                rows.close()
    except BaseException:
        table.close()
        raise
    return table
