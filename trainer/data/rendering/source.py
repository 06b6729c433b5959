"""The rows of a plan, rendered ahead on one background thread, so that training never waits for text."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from trainer.data.conversation import Conversation
from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.example import RowExamples
from trainer.data.rendering.refused_rows import message_with_way_out
from trainer.data.rendering.token_cache import OpenedCache
from trainer.protocol.row_fields import NO_FIELDS, Fields

logger = logging.getLogger("worker")

Renderer = Callable[[Sequence[tuple[int, Conversation]]], list[RowExamples]]
"""(line number, conversation) of each row -> its examples, in the same order."""

Replayed = Callable[[int, Renderer], list[RowExamples]]
"""Number of a step -> its rows of earlier files, rendered."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """The rows of one optimizer step."""

    index: int
    """In the plan, counted from 0."""
    lines: tuple[int, ...]
    """The rows' numbers in their file, counted from 1."""
    examples: list[RowExamples]
    """Of each of these rows."""
    replayed: list[RowExamples]
    """Of rows of earlier files."""


def nothing_replayed(step: int, render: Renderer) -> list[RowExamples]:
    """Return no rows: the file is trained by itself."""
    return []


class ExampleSource:
    """Renders the steps of one plan in order.

    Args:
        render: profile and tokenizer at work; called on the background thread only.
        fields: other names for the parts of a row.
        cache: has examples of the file's lines that were rendered before.
        executor: must run one call at a time, because the file has one position.
        lookahead: steps rendered before they are asked for.
        replayed: called on the background thread only.
    """

    def __init__(
        self,
        rows: RowFile,
        plan: Plan,
        render: Renderer,
        *,
        executor: Executor,
        lookahead: int,
        fields: Fields = NO_FIELDS,
        replayed: Replayed = nothing_replayed,
        cache: OpenedCache | None = None,
    ) -> None:
        self._rows = rows
        self._plan = plan
        self._render = render
        self._executor = executor
        self._lookahead = lookahead
        self._fields = fields
        self._replayed = replayed
        self._cache = cache

    def steps(self, indices: Iterable[int]) -> Iterator[PlannedStep]:
        """Yield the plan's steps of these indices.

        Raises:
            BadRow: a row is not what was checked, or cannot be rendered; the message names its line.
        """
        indices = iter(indices)
        ahead: deque[Future[PlannedStep]] = deque()
        try:
            while True:
                while len(ahead) < self._lookahead and (index := next(indices, None)) is not None:
                    ahead.append(self._executor.submit(self.step, index))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def warm(self, indices: Iterable[int]) -> None:
        """Render the own rows of steps into the cache, for another source of them, and let the cache go.

        What goes wrong is only logged: it costs time at most.
        """
        if self._cache:
            for index in indices:
                self._executor.submit(self._own_examples, index).add_done_callback(_log_failure)
            self.let_cache_go()

    def step(self, index: int) -> PlannedStep:
        """Render one step, or find it in the cache. To be called on the background thread.

        Raises:
            BadRow: as `steps` does.
        """
        own = self._own_examples(index)
        return PlannedStep(index, tuple(own), list(own.values()), self._replayed(index, self._render))

    def _own_examples(self, index: int) -> dict[int, RowExamples]:
        """Return the examples of a step by line, in training order, without what is replayed."""
        return self.examples_at(self._plan.positions(index))

    def examples_at(self, positions: Sequence[int]) -> dict[int, RowExamples]:
        """Return the examples of some rows by line, in this order. To be called on the background thread.

        Raises:
            BadRow: as `steps` does.
        """
        lines = tuple(self._rows.line_number(position) for position in positions)
        cached = {line: self._cache.get(line) for line in lines} if self._cache else {}
        known = {line: examples for line, examples in cached.items() if examples is not None}
        missing = [
            (line, position) for line, position in zip(lines, positions, strict=True) if line not in known
        ]
        rendered = self._render([(line, self._read(line, position)) for line, position in missing])
        fresh = {line: examples for (line, _), examples in zip(missing, rendered, strict=True)}
        if self._cache and fresh:
            self._cache.put(fresh.items())
        known |= fresh
        return {line: known[line] for line in lines}

    def first_failure(self) -> ValueError | None:
        """Return why the first row of the file, in its own order, cannot be rendered; None if all can."""
        return self._executor.submit(self._first_failure).result()

    def _first_failure(self) -> ValueError | None:
        for position in range(len(self._rows)):
            try:
                self.examples_at([position])
            except ValueError as error:  # a bad row, or a bad setting
                return error
        return None

    def message_of(self, error: BadRow) -> str:
        """Return an error of `steps` for a person; the background thread searches for the way out."""
        return self._executor.submit(message_with_way_out, error).result()

    def close(self) -> None:
        """Let the file go, and what is cached of it; on the thread that uses them."""
        self._executor.submit(self._rows.close)
        self.let_cache_go()

    def let_cache_go(self) -> None:
        """Let go what is cached of the file, which stays open; on the thread that uses it."""
        if self._cache:
            self._executor.submit(self._cache.close)

    def _read(self, line: int, position: int) -> Conversation:
        try:
            return read_conversation(self._rows.read(position), self._fields)
        except BadRow as error:
            raise BadRow(f"line {line}: {error}") from error


def _log_failure(rendered: Future[dict[int, RowExamples]]) -> None:
    if error := rendered.exception():
        # Of a bad row its own turn will tell, and a file that was overtaken is closed: a ValueError, too
        level = logging.DEBUG if isinstance(error, ValueError | OSError) else logging.WARNING
        logger.log(level, "a step was not rendered ahead: %s", error, exc_info=error)
