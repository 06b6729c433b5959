"""Rows that a person should inspect: flag them, list them, export them to correct them."""

import json
import time
from pathlib import Path

from daemon.client.errors import CannotWrite, NoSuchFile, NoSuchRow, UnreadableReport, raising
from daemon.client.finding import place_of, the_file
from daemon.client.settings import ClientSettings
from daemon.data_tools.express import to_line
from daemon.data_tools.flagged import FILE_NAME, Flagged, add_flagged, read_flagged
from daemon.data_tools.reading import BadInput, DataFile
from daemon.data_tools.writing import BadOutput, new_file
from trainer.protocol.files import UnreadableFile
from trainer.protocol.layout import Layout
from trainer.protocol.text import utc_text


class Flags:
    """The flagged rows of one working directory. The daemon neither reads nor writes them."""

    def __init__(self, layout: Layout, settings: ClientSettings) -> None:
        self._layout = layout
        self._settings = settings

    def add(self, name: str, line: int, note: str) -> Flagged:
        """Flag a row of a file in the queue.

        Args:
            line: its number, counted from 1.
        Raises:
            NoSuchFile, AmbiguousName: no one file in the queue is meant.
            NoSuchRow: there is no such row, or it cannot be trained.
            OSError: nothing can be noted.
        """
        path = the_file(self._layout, name)
        with raising(NoSuchRow, BadInput):
            found = DataFile(path, self._settings.effective().settings.data).row_at(line)
        entry = Flagged(
            at=utc_text(time.time()), file=place_of(path), line=line, note=note, row=json.loads(found.content)
        )
        add_flagged(self._file, entry)
        return entry

    def entries(self) -> list[Flagged]:
        """Return all flagged rows, oldest first.

        Raises:
            UnreadableReport: they cannot be read.
        """
        with raising(UnreadableReport, UnreadableFile):
            return list(read_flagged(self._file))

    def export(self, out: Path, *, replace: bool = False) -> int:
        """Write the rows as they were, each with its note under `flagged`, which training does not read.

        Returns:
            How many there are.
        Raises:
            NoSuchFile: nothing has been flagged.
            UnreadableReport: they cannot be read.
            CannotWrite: `out` cannot be written, or is there already.
        """
        count = 0
        with (
            raising(CannotWrite, BadOutput),
            raising(UnreadableReport, UnreadableFile),
            new_file(out, replace=replace, inputs=[self._file]) as target,
        ):
            for entry in read_flagged(self._file):
                count += 1
                noted = {"at": entry.at, "file": entry.file, "line": entry.line, "note": entry.note}
                target.write(to_line(entry.row | {"flagged": noted}))
            if not count:
                raise NoSuchFile("nothing has been flagged, so there is nothing to write")
        return count

    @property
    def _file(self) -> Path:
        return self._layout.status / FILE_NAME
