"""Have rows of completed files indexed by a process of its own, so that training continues undisturbed."""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel

from trainer.config.schema import DataSettings
from trainer.protocol import one_shot
from trainer.protocol.child_process import own_environment
from trainer.protocol.job import JobRecord, Outcome

MODULE = "trainer.mains.index_rows"

logger = logging.getLogger("worker")


class CompletedFile(BaseModel):
    """A file whose rows were trained."""

    name: str
    """As the file system had it; it may have got a number since."""
    sha256: str


class IndexOrder(one_shot.OneShotOrder):
    """What is to be indexed."""

    models: Path
    folders: list[str]
    """Where the files may be; in the order in which they move from one to the other."""
    files: list[CompletedFile]
    max_rows: int
    max_line_bytes: int
    fields: dict[str, str]


class Indexed(BaseModel):
    """What came of it."""

    done: list[str]
    """SHA-256 of the files that need not be tried again."""
    messages: list[str]
    """What a person should know."""


class RowIndexer:
    """Gives completed files to the process that indexes their rows, one order after another.

    Args:
        folders: where completed files may be found.
    """

    def __init__(self, models: Path, folders: Iterable[Path]) -> None:
        self._models = models
        self._folders = list(folders)
        self._given: set[str] = set()
        self._messages: deque[str] = deque()
        # The process dies with the thread that started it, so this one lives as long as we do
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="row-memory")

    def search_in(self, folder: Path) -> None:
        """Expect completed files in another folder, too."""
        if folder not in self._folders:
            self._folders.append(folder)

    def index(self, finished: Iterable[JobRecord], settings: DataSettings) -> Future[None] | None:
        """Start to index the rows of completed files among `finished`; None if all were given before."""
        files = [
            CompletedFile(name=record.name, sha256=record.sha256)
            for record in finished
            if record.outcome is Outcome.COMPLETED and record.name and record.sha256 not in self._given
        ]
        if not files:
            return None
        self._given |= {file.sha256 for file in files}
        order = IndexOrder(
            models=self._models,
            folders=[str(folder) for folder in self._folders],
            files=files,
            max_rows=settings.seen_rows_max,
            max_line_bytes=settings.max_line_bytes,
            fields=settings.fields,
        )
        return self._thread.submit(self._carry_out, order)

    def take_messages(self) -> list[str]:
        """Return what a person should know since the last call."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def close(self) -> None:
        """Wait until everything given is indexed."""
        self._thread.shutdown()

    def _carry_out(self, order: IndexOrder) -> None:
        try:
            indexed = run_indexing(order)
        except (OSError, ValueError) as error:  # the latter if its answer cannot be understood
            indexed = Indexed(done=[], messages=[str(error)])
        for message in indexed.messages:
            logger.warning("rows trained before: %s", message)
        self._messages.extend(indexed.messages)
        # The others are tried again with the next checkpoint
        self._given -= {file.sha256 for file in order.files} - set(indexed.done)


def run_indexing(order: IndexOrder) -> Indexed:
    """Carry out an order in a process of its own.

    Raises:
        OSError: the process could not be started, or died.
    """
    environment = own_environment() | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        return one_shot.ask(MODULE, order, Indexed, environment=environment)
    except one_shot.OrderRefused as refused:
        raise OSError(
            f"the rows of completed files were not indexed: {refused}; it is tried again"
        ) from refused
    except one_shot.NoAnswer as error:
        raise OSError(f"the process that indexes rows {error}; it is tried again") from error
