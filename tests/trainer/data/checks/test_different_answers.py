"""Rows that answer the same prompt in different ways are counted, and the first of them are named."""

import pytest

from tests.support import every_case, row
from trainer.data.checks import different_answers
from trainer.data.checks.different_answers import AnswerComparison, DifferentAnswers
from trainer.data.formats import read_conversation

CALL = {"function": {"name": "add", "arguments": {"a": 1}}}
OTHER_CALL = {"function": {"name": "add", "arguments": {"a": 2}}}
NOTHING = DifferentAnswers(prompts=0, rows=0, first=())


def found_in(*rows):
    comparison = AnswerComparison()
    for line, one in enumerate(rows, start=1):
        comparison.note(line, read_conversation(one))
    return comparison.found()


def called(call):
    return {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "tool_calls": [call]}]}


def turns(*texts, **last):
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"messages": [*messages[:-1], messages[-1] | last]}


def test_prompts_with_several_answers_are_counted_and_the_first_are_named():
    rows = [
        row("b", "1"), row("a", "1"), row("c", "1"), row("a", "1"), row("a", "2"), row("a", "3"),
        row("b", "2"), row("d", "1"), row("d", "2"), row("e", "1"), row("e", "2"), row("c", "1"),
    ]  # fmt: skip

    assert found_in(*rows) == DifferentAnswers(prompts=4, rows=10, first=((1, 7), (2, 5), (8, 9)))


def test_all_that_stands_before_the_last_answer_is_the_prompt():
    alike = {
        "calls": (called(CALL), called(OTHER_CALL)),
        "later turns": (turns("a", "1", "b", "2"), turns("a", "1", "b", "3")),
        "system": ({"system": "Be brief."} | row("a", "1"), {"system": "Be brief."} | row("a", "2")),
        "another format": (row("a", "1"), {"prompt": "a", "completion": "2"}),
    }
    unlike = {
        "the same answer": (row("a", "1"), row("a", "1")),
        "spaces": (row("a", "1 + 1"), row("a", "1  + 1\n")),
        "the same calls": (called(CALL), called(CALL)),
        "an earlier answer": (turns("a", "1", "b", "2"), turns("a", "2", "b", "3")),
        "system": ({"system": "Be brief."} | row("a", "1"), row("a", "2")),
        "tools": ({"tools": [{"name": "f"}]} | row("a", "1"), row("a", "2")),
        "thoughts": (turns("a", "1", reasoning_content="x"), turns("a", "1", reasoning_content="y")),
        "not supervised": (turns("a", "1", "b", "2", train=False), turns("a", "1", "b", "3", train=False)),
        "texts": ({"text": "a"}, {"text": "b"}),
        "no prompt": (
            {"messages": row("a", "1")["messages"][1:]},
            {"messages": row("a", "2")["messages"][1:]},
        ),
    }

    with every_case() as tried:
        for name, rows in alike.items():
            with tried.case(name):
                assert found_in(*rows) == DifferentAnswers(prompts=1, rows=2, first=((1, 2),))
        for name, rows in unlike.items():
            with tried.case(name):
                assert found_in(*rows) == NOTHING


def test_memory_is_limited(monkeypatch):
    monkeypatch.setattr(different_answers, "ROWS_COMPARED", 2)

    assert found_in(row("a", "1"), row("b", "1"), row("a", "2")) == NOTHING


@pytest.mark.parametrize("rows", [[], [row("a", "1")]])
def test_there_may_be_nothing_to_compare(rows):
    assert found_in(*rows) == NOTHING
