"""The rows of a plan, rendered ahead of use, in the plan's order."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import row, rows, write_jsonl
from trainer.data.conversation import Conversation
from trainer.data.plan import Plan
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import Example, RowExamples
from trainer.data.rendering.source import ExampleSource
from trainer.protocol.files import file_sha256


class InlineExecutor(Executor):
    """Runs each call at once, where it is submitted."""

    def __init__(self) -> None:
        self.num_submitted = 0

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.num_submitted += 1
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except BadRow as error:
            future.set_exception(error)
        return future


class IdleExecutor(Executor):
    """Runs the first call only; the others wait for ever."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        if len(self.futures) == 1:
            self.futures[0].set_result(call(*args, **kwargs))
        return self.futures[-1]


@pytest.fixture
def row_file(tmp_path: Path) -> Iterator[RowFile]:
    row_file = open_rows(write_jsonl(tmp_path / "a.jsonl", ["", *rows(10)]))
    yield row_file
    row_file.close()


def open_rows(path: Path) -> RowFile:
    return RowFile.open(path, sha256=file_sha256(path), max_line_bytes=1024)


def plan_of(num_rows: int, *, rows_per_step: int = 4, epochs: int = 2) -> Plan:
    return Plan(sha256="a", num_rows=num_rows, rows_per_step=rows_per_step, epochs=epochs, seed=1)


PLAN = plan_of(10)


def show(numbered: Sequence[tuple[int, Conversation]]) -> list[RowExamples]:
    """Render a row as its line number and the number that its question asks for."""
    return [
        (Example([number, int(conversation.messages[0].content[4:-1])], [], 0, False),)
        for number, conversation in numbered
    ]


def source(row_file: RowFile, executor: Executor, lookahead: int = 2, plan: Plan = PLAN) -> ExampleSource:
    return ExampleSource(row_file, plan, show, executor=executor, lookahead=lookahead)


@pytest.mark.parametrize("lookahead", [1, 2, 100])
def test_steps_come_in_order_with_the_rows_of_the_plan(row_file, lookahead):
    with ThreadPoolExecutor(max_workers=1) as executor:
        steps = list(source(row_file, executor, lookahead).steps(range(6)))

    assert [step.index for step in steps] == list(range(6))
    assert [step.lines for step in steps] == [
        tuple(position + 2 for position in PLAN.positions(index)) for index in range(6)
    ]
    assert [[example.token_ids for (example,) in step.examples] for step in steps] == [
        [[position + 2, position] for position in PLAN.positions(index)] for index in range(6)
    ]


@pytest.mark.parametrize("start", range(8))
def test_starting_in_the_middle_gives_the_tail_of_the_whole(row_file, start):
    whole = list(source(row_file, InlineExecutor()).steps(range(6)))

    assert list(source(row_file, InlineExecutor()).steps(range(start, 6))) == whole[start:]


@pytest.mark.parametrize("indices", [[], [5], [0, 2, 5], [1, 4]])
def test_only_the_steps_that_are_asked_for_are_rendered(row_file, indices):
    executor = InlineExecutor()

    steps = list(source(row_file, executor).steps(indices))

    assert [step.index for step in steps] == indices
    assert executor.num_submitted == len(indices)


@pytest.mark.parametrize("lookahead, submitted", [(1, [1, 2, 3, 4, 5, 6]), (3, [3, 4, 5, 6, 6, 6])])
def test_no_more_than_the_lookahead_is_rendered_before_it_is_asked_for(row_file, lookahead, submitted):
    executor = InlineExecutor()

    assert [
        executor.num_submitted for _ in source(row_file, executor, lookahead).steps(range(6))
    ] == submitted


def test_nothing_is_rendered_before_the_first_step_is_asked_for(row_file):
    executor = InlineExecutor()

    source(row_file, executor).steps(range(6))

    assert executor.num_submitted == 0


def test_what_was_rendered_ahead_is_called_off_when_nobody_wants_it(row_file):
    executor = IdleExecutor()
    steps = source(row_file, executor, lookahead=4).steps(range(6))
    next(steps)

    steps.close()

    assert [future.cancelled() for future in executor.futures] == [False, True, True, True]


@pytest.mark.parametrize(
    "bad, told",
    [
        ("{", "line 4: column 2: .*; expected one JSON object"),
        ({"messages": []}, "line 4: messages is an empty list"),
    ],
)
def test_a_row_that_is_not_what_was_checked_is_told_with_its_line(tmp_path, bad, told):
    row_file = open_rows(write_jsonl(tmp_path / "a.jsonl", [row("Say 0."), "", row("Say 1."), bad]))

    with pytest.raises(BadRow, match=told):
        list(source(row_file, InlineExecutor(), plan=plan_of(3)).steps(range(2)))
    row_file.close()


def test_the_steps_before_a_bad_row_still_come(tmp_path):
    one_by_one = plan_of(6, rows_per_step=1, epochs=1)
    content: list[Any] = rows(6)
    [bad] = one_by_one.positions(3)
    content[bad] = "broken"
    row_file = open_rows(write_jsonl(tmp_path / "a.jsonl", content))
    steps = source(row_file, InlineExecutor(), lookahead=5, plan=one_by_one).steps(range(6))

    assert [next(steps).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BadRow, match=f"line {bad + 1}: "):
        next(steps)
    row_file.close()
