"""Logging of both processes: one line per event, in text or JSON, rotated."""

import json
import logging
import logging.handlers
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

from trainer.protocol.text import printable, utc_text

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES_KEPT = 5


class _TextLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        job = f" job={job_id}" if (job_id := getattr(record, "job_id", None)) else ""
        line = f"{utc_text(record.created)} {record.levelname:7} {printable(record.getMessage())}{job}"
        if not record.exc_info:
            return line
        trace = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(printable(part) for part in trace)])


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": utc_text(record.created),
            "level": record.levelname.lower(),
            "process": record.process,
            "message": printable(record.getMessage()),
            "job": getattr(record, "job_id", None),
            "traceback": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log that complains once, not for each line, while it cannot be written: on a full disk, say."""

    _is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        was_failing, self._is_failing = self._is_failing, False
        super().emit(record)
        if self._is_failing and not was_failing:
            with suppress(OSError, ValueError):  # standard error may be on the same disk
                print(f"the log cannot be written: {self._problem}", file=sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:
        self._is_failing, self._problem = True, sys.exc_info()[1]


def set_up_logging(path: Path, *, form: Literal["text", "json"], also_stderr: bool = False) -> None:
    """Send every log line of this process to `path`, and to the terminal if asked."""
    formatter = _JsonLine() if form == "json" else _TextLine()
    handlers: list[logging.Handler] = [
        _LogFile(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    ]
    if also_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.raiseExceptions = False  # a terminal that is gone is no reason for a traceback on it
    # force: an imported library may have set up logging of its own, which would leave our file empty
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
