"""Rows that a person should inspect: flag them, list them, export them to correct them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.client.errors import AmbiguousName, NoSuchFile, UnreadableReport
from daemon.client.naming import place_of
from daemon.client.settings import ClientSettings
from daemon.data_tools.express import to_line
from daemon.data_tools.flagged import FILE_NAME, Flagged, add_flagged, read_flagged
from daemon.data_tools.reading import BadInput, DataFile
from daemon.data_tools.writing import BadOutput, new_file
from daemon.jobs.listing import find_named
from trainer.protocol.files import UnreadableFile
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable, utc_text


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
            UnreadableReport: there is no such row, or nothing can be noted.
        """
        path = self._the_file(name)
        with _translated():
            found = DataFile(path, self._settings.effective().settings.data).row_at(line)
            entry = Flagged(
                at=utc_text(time.time()),
                file=place_of(path),
                line=line,
                note=note,
                row=json.loads(found.content),
            )
            add_flagged(self._file, entry)
        return entry

    def entries(self) -> list[Flagged]:
        """Return all flagged rows, oldest first.

        Raises:
            UnreadableReport: they cannot be read.
        """
        with _translated():
            return list(read_flagged(self._file))

    def export(self, out: Path, *, replace: bool = False) -> int:
        """Write the rows as they were, each with its note under `flagged`, which training does not read.

        Returns:
            How many there are.
        Raises:
            NoSuchFile: nothing has been flagged.
            UnreadableReport: they cannot be read, or `out` cannot be written.
        """
        count = 0
        with _translated(), new_file(out, replace=replace, inputs=[self._file]) as target:
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

    def _the_file(self, name: str) -> Path:
        folders = [
            self._layout.processing,
            *map(self._layout.waiting, Priority),
            *map(self._layout.finished, Outcome),
        ]
        found = find_named(folders, name)
        places = [place_of(path) for path in found]
        if not found:
            raise NoSuchFile(
                f"no file in the queue is named {printable(name)}; training_queue list shows them"
            )
        if len(found) > 1:
            raise AmbiguousName(
                f"{printable(name)} is ambiguous: {' or '.join(places)}; say which, such as {places[0]}"
            )
        return found[0]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BadInput, BadOutput, UnreadableFile) as error:
        raise UnreadableReport(str(error)) from error
