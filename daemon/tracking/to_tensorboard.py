"""Send rows to TensorBoard: event files below one folder, one folder for each run.

Each row is one record, and what a kill has left half-written is no record. The files themselves say which
rows are there.
"""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from daemon.tracking.rows import Row, Run
from daemon.tracking.tracker import NotSent, missing_package

TEXT = "text"  # the plugin's name


class TensorBoard:
    """Writes event files.

    Args:
        folder: of all runs.
    Raises:
        UnusableTracker: the package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
            from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise missing_package("tensorboard", "tensorboard", "tensorboard") from error
        self._event: Any = event_pb2.Event
        self._summary, self._tensor, self._types = summary_pb2, tensor_pb2, types_pb2
        self._text_data = TextPluginData(version=0).SerializeToString()
        self._record_writer: Any = RecordWriter
        self._all_runs = folder
        self._folder = folder
        self._file: BinaryIO | None = None
        self._writer: Any = None
        self._confirmed = 0

    def open(self, run: Run) -> None:
        """Start a file in the folder of a run; what others have written there stays."""
        self.close()
        self._folder = self._all_runs / run.name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
            self._file = (self._folder / name).open("xb")
        except OSError as error:
            raise NotSent(f"{self._folder} cannot be written: {error}") from error
        self._writer = self._record_writer(self._file)
        self._write([self._event(wall_time=time.time(), file_version="brain.Event:2")])

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of which no file of the run has the record."""
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

        records = {row.number: self._event_of(row).SerializeToString() for row in rows}
        wanted, found = set(records.values()), set()
        for file in sorted(self._folder.glob("events.out.tfevents.*")):
            found |= {record for record in RawEventFileLoader(str(file)).Load() if record in wanted}
        self._confirmed = max((row.number for row in rows if records[row.number] in found), default=0)
        return [row for row in rows if records[row.number] not in found]

    def send(self, rows: Sequence[Row]) -> None:
        """Write a record for each row, and have the disk keep them."""
        self._write([self._event_of(row) for row in rows])
        self._confirmed = max(self._confirmed, *(row.number for row in rows)) if rows else self._confirmed

    def confirmed(self) -> int:
        """Return the number of the last row written."""
        return self._confirmed

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None
        self._confirmed = 0

    def _write(self, events: Sequence[Any]) -> None:
        assert self._file
        try:
            for event in events:
                self._writer.write(event.SerializeToString())
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError as error:  # a full disk, say; the next file begins where this one broke off
            raise NotSent(f"{self._folder} cannot be written: {error}") from error

    def _event_of(self, row: Row) -> Any:
        if row.kind == "metrics":
            values = [
                self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in row.values.items()
            ]
        else:
            values = [self._text_value(*_text_of(row))]
        return self._event(wall_time=row.at, step=row.step, summary=self._summary.Summary(value=values))

    def _text_value(self, tag: str, text: str) -> Any:
        plugin = self._summary.SummaryMetadata.PluginData(plugin_name=TEXT, content=self._text_data)
        tensor = self._tensor.TensorProto(
            dtype=self._types.DT_STRING,
            string_val=[text.encode("utf-8", "replace")],
            tensor_shape={"dim": [{"size": 1}]},
        )
        metadata = self._summary.SummaryMetadata(plugin_data=plugin)
        return self._summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _text_of(row: Row) -> tuple[str, str]:
    """Return a tag, and Markdown."""
    match row.kind:
        case "answer":
            return f"previews/{row.name[:100]}", row.text
        case "settings":
            return "settings", f"```json\n{row.text}\n```"
        case _:
            return f"notes/{row.name}", row.text
