"""When a way out is searched for, and how long."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.data.checks.report import ReportLimits, RowReport
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import (
    OTHER_TEMPLATES,
    OtherTemplate,
    UnrenderableConversation,
)
from trainer.data.rendering.refused_rows import RefusedRow, message_with_way_out
from trainer.data.rendering.row_changes import ROW_CHANGES, calls_of_results
from trainer.data.rendering.ways_out import EXCERPT_TURNS, MOST_TRIALS, NO_WAY_OUT, WaysOut
from trainer.protocol.job import Job, Priority

THOUGHTS = {"reasoning_content": "t"}
QUESTION = Message("user", "q")


class Judge:
    """Lets rows train of which `accepts` says so, and remembers how many turns each trial had."""

    def __init__(self, accepts: Any = lambda row: False) -> None:
        self.turns_tried: list[int] = []
        self._accepts = accepts

    def __call__(self, conversation: Conversation, tokenizer: Any, train_on: Any) -> bool:
        self.turns_tried.append(len(conversation.messages))
        return bool(self._accepts(conversation))


def call(name: str, **ids: str) -> dict[str, Any]:
    return {**ids, "type": "function", "function": {"name": name, "arguments": {}}}


def result(words: str, **extra: str) -> Message:
    return Message("tool", words, extra=extra)


def thoughtful(turns: int) -> Conversation:
    pair = Message("user", "q"), Message("assistant", "a", extra=THOUGHTS)
    return Conversation(pair * (turns // 2))


def rich() -> Conversation:
    """Return a row with which every change does something."""
    calls = Message("assistant", "I look.", tool_calls=(call("f"), call("g")), extra=THOUGHTS)
    turns = Message("system", "s"), Message("user", "q"), calls, result("1"), result("2")
    return Conversation((*turns, Message("assistant", "a", extra=THOUGHTS)), tools=(call("f"),))


def has_no_thoughts(row: Conversation) -> bool:
    return not any(message.extra for message in row.messages)


# ---- when


def test_nothing_is_tried_until_somebody_asks_for_a_way_out():
    judge = Judge(has_no_thoughts)
    refusal = UnrenderableConversation("it hides the thoughts")

    offered = WaysOut(object(), judge).offer(refusal, thoughtful(4), "all")
    row = RefusedRow(7, offered)

    assert (str(offered), str(row)) == ("it hides the thoughts", "line 7: it hides the thoughts")
    assert not judge.turns_tried
    assert message_with_way_out(row).startswith("line 7: it hides the thoughts; write the thoughts into")
    assert judge.turns_tried == [4]


def test_a_way_out_that_is_known_is_told_without_a_search():
    judge = Judge()
    refusal = UnrenderableConversation("it has no end", way_out="name one")

    offered = WaysOut(object(), judge).offer(refusal, thoughtful(4), "all")

    assert str(offered) == offered.with_way_out() == "it has no end; name one"
    assert not judge.turns_tried


def test_a_report_searches_for_its_first_error_only():
    judge = Judge(has_no_thoughts)
    ways_out = WaysOut(object(), judge)
    found = RowReport(ReportLimits(max_length=10, max_truncated_fraction=0.05))

    for line in range(1, 65):
        row = replace(thoughtful(4), metadata={"line": line})
        refusal = ways_out.offer(UnrenderableConversation("no"), row, "all")
        found.note_unrenderable(line, RefusedRow(line, refusal))

    job = Job(id="a", name="a", priority=Priority.NORMAL, sha256="", rows=64, size_bytes=1)
    [finding] = found.report(job, validation="standard", duplicates=()).blocks
    assert "the first error: line 1: no; write the thoughts" in finding.message
    assert len(judge.turns_tried) == 1


def test_a_row_that_is_asked_for_again_is_not_tried_again():
    judge = Judge(has_no_thoughts)
    ways_out = WaysOut(object(), judge)

    told = [ways_out.of(thoughtful(4), "all") for _ in range(2)]

    assert told[0] == told[1]
    assert len(judge.turns_tried) == 1


# ---- how long


def test_a_search_ends_after_so_many_trials_and_says_so():
    judge = Judge()

    told = WaysOut(object(), judge).of(rich(), "assistant")

    assert len(judge.turns_tried) == MOST_TRIALS
    assert told.startswith(f"none of the {MOST_TRIALS} other settings and changes that were tried lets it")


def test_a_search_that_tried_everything_says_so():
    assert WaysOut(object(), Judge()).of(thoughtful(4), "assistant") == NO_WAY_OUT


@pytest.mark.parametrize("accepts", [has_no_thoughts, lambda row: False])
def test_a_long_row_is_tried_by_its_first_turns_and_hardly_ever_whole(accepts):
    judge = Judge(accepts)

    told = WaysOut(object(), judge).of(thoughtful(1000), "assistant")

    assert sum(turns > EXCERPT_TURNS for turns in judge.turns_tried) <= 2
    assert told.startswith("write the thoughts into the words") or told == NO_WAY_OUT


def test_what_helps_the_first_turns_alone_is_not_advised():
    judge = Judge(lambda row: has_no_thoughts(row) and len(row.messages) <= EXCERPT_TURNS)

    told = WaysOut(object(), judge).of(thoughtful(1000), "assistant")

    assert told.startswith("none of the 2 other settings and changes")


def test_a_long_row_is_not_cut_between_calls_and_their_results():
    judge = Judge(has_no_thoughts)
    turns = Message("assistant", "", tool_calls=(call("f"),), extra=THOUGHTS), result("1")

    told = WaysOut(object(), judge).of(Conversation((QUESTION, *turns * 500)), "all")

    assert judge.turns_tried[0] == 1001
    assert told.startswith("write the thoughts into the words")


def test_changes_that_come_to_the_same_are_tried_once():
    seen: list[str] = []
    judge = Judge(lambda row: seen.append(repr(row)))

    WaysOut(object(), judge).of(rich(), "all")

    assert len(seen) == len(set(seen))


def test_what_would_lose_something_is_told_after_another_template_that_keeps_it():
    def accepts(row, tokenizer):
        template = getattr(tokenizer, "chat_template", "own")
        return has_no_thoughts(row) and (template == "shows tools" or not row.tools)

    row = Conversation((*thoughtful(2).messages,), tools=(call("f"),))
    other = OtherTemplate("set it to another", "shows tools", None, None)
    tokenizer = SimpleNamespace(**{OTHER_TEMPLATES: lambda: [other]})

    told = WaysOut(tokenizer, lambda row, tokenizer, train_on: accepts(row, tokenizer)).of(row, "all")

    thoughts = 'write the thoughts into the words, as "<think>…</think>" before them'
    tools = "remove the tools with their calls and results"
    assert told == f"set it to another, and {thoughts}, or {thoughts} and {tools}"


# ---- calls and their results


TWO_CALLS = Message("assistant", "", tool_calls=(call("f", id="x"), call("g", id="y")))


@pytest.mark.parametrize(
    "results, expected",
    [
        ([result("1"), result("2")], {2: (1, 0), 3: (1, 1)}),
        ([result("2", tool_call_id="y"), result("1", tool_call_id="x")], {2: (1, 1), 3: (1, 0)}),
        ([result("1"), result("2", tool_call_id="x")], {2: (1, 1), 3: (1, 0)}),
        ([result("1", tool_call_id="z"), result("2")], {2: (1, 0), 3: (1, 1)}),
        ([result("1"), result("2"), result("3")], {2: (1, 0), 3: (1, 1)}),
    ],
)
def test_a_result_belongs_to_the_call_that_it_names_or_else_to_the_next(results, expected):
    assert calls_of_results(Conversation((QUESTION, TWO_CALLS, *results))) == expected


def test_an_id_that_is_used_again_means_the_latest_call():
    turns = [Message("assistant", "", tool_calls=(call("f", id="x"),)), result("1", tool_call_id="x")]

    assert calls_of_results(Conversation((QUESTION, *turns, *turns))) == {2: (1, 0), 4: (3, 0)}


def test_changed_rows_keep_each_result_with_its_call():
    row = Conversation(
        (QUESTION, TWO_CALLS, result("of g", tool_call_id="y"), result("of f", tool_call_id="x"))
    )

    def changed(words: str) -> tuple[Message, ...]:
        [change] = [change for change in ROW_CHANGES if change.words.startswith(words)]
        return change.of(row).messages

    apart = changed("give every call a turn of its own")
    _, calls, of_g, of_f = changed('give every call an "id"')
    assert [message.content for message in apart] == ["q", "", "of f", "", "of g"]
    assert [one.tool_calls[0]["function"]["name"] for one in apart[1::2]] == ["f", "g"]
    ids = [call["id"] for call in calls.tool_calls]
    assert [of_f.extra["tool_call_id"], of_g.extra["tool_call_id"]] == ids
