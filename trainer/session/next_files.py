"""Prepare the next files while another one still trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from trainer.config.schema import Settings
from trainer.data.reading.rows import RowFile
from trainer.pipeline.example_pipeline import open_rows
from trainer.protocol.job import Job


class NextFiles:
    """Opens and indexes files on a thread of its own.

    Indexing a large file takes seconds, in which the rows of another must go on being rendered.

    Args:
        scratch: as for `RowFile.open`.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="next-file")
        self._opened: dict[tuple[str, bool], Future[RowFile]] = {}

    def prepare(
        self, job: Job, path: Path, settings: Settings, *, then: Callable[[RowFile], None] = lambda rows: None
    ) -> None:
        """Begin to open a file that will probably be next.

        Args:
            then: called with it once it is open, on the thread that opens files.
        """
        if (key := _key(job, settings)) not in self._opened:
            self._opened[key] = self._thread.submit(self._open, job, path, settings, then)

    def take(self, job: Job, path: Path, settings: Settings) -> RowFile:
        """Return a job's file, open. The others that were prepared have been overtaken, and are closed.

        Raises:
            FileChanged: it is not the file that was checked.
            OSError: it cannot be read.
        """
        future = self._opened.pop(_key(job, settings), None)
        self.drop()
        if future is None or future.exception():  # such as: it had moved on before the hint was read
            future = self._thread.submit(open_rows, job, path, settings, self._scratch)
        return future.result()

    def drop(self) -> None:
        """Close what was prepared."""
        for future in self._opened.values():
            if not future.cancel():
                future.add_done_callback(_close)
        self._opened.clear()

    def close(self) -> None:
        """Close everything, and end the thread."""
        self.drop()
        self._thread.shutdown()

    def _open(self, job: Job, path: Path, settings: Settings, then: Callable[[RowFile], None]) -> RowFile:
        rows = open_rows(job, path, settings, self._scratch)
        try:
            then(rows)
        except BaseException:
            rows.close()
            raise
        return rows


def _key(job: Job, settings: Settings) -> tuple[str, bool]:
    return job.id, settings.data.validation == "quick"  # which decides what is noted of a file's lines


def _close(future: Future[RowFile]) -> None:
    if not future.exception():
        future.result().close()
