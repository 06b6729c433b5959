"""Rows of earlier files that are trained again among those of a job, against forgetting."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.reading.rows import BadRow, FileChanged, RowFile
from trainer.data.rendering.example import RowExamples
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.source import Renderer
from trainer.protocol.faults import UnusableReplay
from trainer.protocol.job import EarlierFile
from trainer.protocol.messages import StartJob

OpenFile = tuple[EarlierFile, RowFile]


class EarlierFiles:
    """Holds the files open that rows are replayed from; from job to job, because indexing reads them whole.

    Args:
        executor: the one thread that reads rows.
        tick: called for every file that was indexed.
        scratch: as for `RowFile.open`.
    """

    def __init__(self, executor: Executor, tick: Callable[[], None], scratch: Path | None = None) -> None:
        self._executor = executor
        self._tick = tick
        self._scratch = scratch
        self._open: dict[EarlierFile, RowFile] = {}

    def take(self, wanted: Sequence[EarlierFile], order: StartJob, max_line_bytes: int) -> list[OpenFile]:
        """Return these files, open, and close all others.

        Raises:
            UnusableReplay: one is gone, changed or cannot be read.
        """
        for file in self._open.keys() - set(wanted):
            self._executor.submit(self._open.pop(file).close)
        for file in wanted:
            if file not in self._open:
                self._open[file] = _open_rows(file, order, max_line_bytes, self._scratch)
                self._tick()
        return [(file, self._open[file]) for file in wanted]

    def close(self) -> None:
        """Close everything; nothing is read any more."""
        for rows in self._open.values():
            rows.close()
        self._open.clear()


def render_replayed(
    plan: Plan, files: Sequence[OpenFile], order: StartJob, step: int, render: Renderer
) -> list[RowExamples]:
    """Return the replayed rows of a step in training order, rendered as the job renders its own.

    Args:
        files: those of the plan's replay, in its order.
    Raises:
        UnusableReplay: a row is not what it was, or cannot be rendered by the job's settings.
    """
    return [_examples(files[file], position, order, render) for file, position in plan.replayed(step)]


def _examples(opened: OpenFile, position: int, order: StartJob, render: Renderer) -> RowExamples:
    file, rows = opened
    number = rows.line_number(position)
    try:
        conversation = read_conversation(rows.read(position), dict(file.fields))
    except BadRow as error:
        raise _unusable(file, order, f"line {number}: {error}") from error
    try:
        [examples] = render([(number, conversation)])
    except BadRow as error:  # it names the line
        raise _unusable(file, order, message_with_way_out(error)) from error
    return examples


def _open_rows(file: EarlierFile, order: StartJob, max_line_bytes: int, scratch: Path | None) -> RowFile:
    try:
        return RowFile.open(
            Path(order.replay_folder) / file.job_id,
            sha256=file.sha256,
            rejected_lines=file.rejected_lines,
            max_line_bytes=max_line_bytes,
            scratch=scratch,
        )
    except (FileChanged, OSError) as error:
        raise _unusable(file, order, str(error)) from error


def _unusable(file: EarlierFile, order: StartJob, what: str) -> UnusableReplay:
    return UnusableReplay(
        f"{order.job.name} replays rows of {file.name}, but {what}; expected the content with SHA-256 "
        f"{file.sha256[:12]}…; put it back as {Path(order.replay_folder) / file.job_id}, or give "
        f"{order.job.name} up: training_controller skip"
    )
