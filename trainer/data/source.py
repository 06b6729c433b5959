"""The rows of a plan, rendered ahead on one background thread, so that training never waits for text."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from trainer.data.conversation import Conversation
from trainer.data.formats import read_conversation
from trainer.data.plan import Plan
from trainer.data.render import Example
from trainer.data.rows import BadRow, RowFile

Renderer = Callable[[Sequence[tuple[int, Conversation]]], list[Example]]
"""(line number, conversation) of each row -> its examples, in the same order."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """The rows of one optimizer step."""

    index: int
    """In the plan, counted from 0."""
    lines: tuple[int, ...]
    """The rows' numbers in their file, counted from 1."""
    examples: list[Example]
    replayed: list[Example]
    """Rows of earlier files."""


def nothing_replayed(step: int) -> list[Example]:
    """Return no rows: the file is trained by itself."""
    return []


class ExampleSource:
    """Renders the steps of one plan in order.

    Args:
        render: profile and tokenizer at work; called on the background thread only.
        executor: must run one call at a time, because the file has one position.
        lookahead: steps rendered before they are asked for.
        replayed: returns the rows of earlier files in a step; called on the background thread only.
    """

    def __init__(
        self,
        rows: RowFile,
        plan: Plan,
        render: Renderer,
        *,
        executor: Executor,
        lookahead: int,
        replayed: Callable[[int], list[Example]] = nothing_replayed,
    ) -> None:
        self._rows = rows
        self._plan = plan
        self._render = render
        self._executor = executor
        self._lookahead = lookahead
        self._replayed = replayed

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
                    ahead.append(self._executor.submit(self._prepare, index))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _prepare(self, index: int) -> PlannedStep:
        numbered = []
        for position in self._plan.positions(index):
            number = self._rows.line_number(position)
            try:
                numbered.append((number, read_conversation(self._rows.read(position))))
            except BadRow as error:
                raise BadRow(f"line {number}: {error}") from error
        lines = tuple(number for number, _ in numbered)
        return PlannedStep(index, lines, self._render(numbered), self._replayed(index))
