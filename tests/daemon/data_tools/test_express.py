"""Conversations in other formats: what is kept, what is counted as lost, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.data_tools.express import CannotExpress, Format, Loss, express, to_line
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation, read_row

ASKED, TOLD = Message("user", "Capital of France?"), Message("assistant", "Paris.")
MORE, THEN = Message("user", "Of Spain?"), Message("assistant", "Madrid.")
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
TOOL = {"type": "function", "function": {"name": "weather"}}


def conversation(*messages, **beside):
    return Conversation(tuple(messages), **beside)


@pytest.mark.parametrize(
    "format, row",
    [
        (
            Format.MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": "Capital of France?"},
                    {"role": "assistant", "content": "Paris."},
                ]
            },
        ),
        (
            Format.SHAREGPT,
            {
                "conversations": [
                    {"from": "human", "value": "Capital of France?"},
                    {"from": "gpt", "value": "Paris."},
                ]
            },
        ),
        (Format.ALPACA, {"instruction": "Capital of France?", "input": "", "output": "Paris."}),
        (Format.PROMPT_COMPLETION, {"prompt": "Capital of France?", "completion": "Paris."}),
    ],
)
def test_question_and_answer_lose_nothing_in_any_format(format, row):
    expressed = express(conversation(ASKED, TOLD), format)

    assert (expressed.row, expressed.losses) == (row, frozenset())


@pytest.mark.parametrize("format", Format)
def test_metadata_is_kept_in_every_format(format):
    expressed = express(conversation(ASKED, TOLD, metadata={"skill": "geography"}), format)

    assert expressed.row["metadata"] == {"skill": "geography"}


def test_messages_say_everything_that_a_conversation_can_hold():
    calling = Message("assistant", "", (CALL,), is_trained=False)
    told = Message("tool", "20 degrees", extra={"tool_call_id": "7"})

    expressed = express(conversation(ASKED, calling, told, TOLD, tools=(TOOL,)), Format.MESSAGES)

    assert not expressed.losses
    assert expressed.row["tools"] == [TOOL]
    assert expressed.row["messages"][1:3] == [
        {"role": "assistant", "content": "", "tool_calls": [CALL], "train": False},
        {"role": "tool", "content": "20 degrees", "tool_call_id": "7"},
    ]


def test_sharegpt_calls_tools_and_loses_ids():
    told = Message("tool", "20 degrees", extra={"tool_call_id": "7"})

    expressed = express(
        conversation(Message("system", "Be brief."), ASKED, Message("assistant", "", (CALL,)), told, TOLD),
        Format.SHAREGPT,
    )

    turns = expressed.row["conversations"]
    assert [turn["from"] for turn in turns] == ["system", "human", "function_call", "observation", "gpt"]
    assert json.loads(turns[2]["value"]) == CALL
    assert expressed.losses == {Loss.FIELDS}


def test_thoughts_are_kept_or_counted():
    thinking = Message("assistant", "Paris.", extra={"thinking": "Which city?"})

    in_sharegpt = express(conversation(ASKED, thinking), Format.SHAREGPT)
    in_alpaca = express(conversation(ASKED, thinking), Format.ALPACA)

    assert in_sharegpt.row["conversations"][1] == {
        "from": "gpt",
        "value": "Paris.",
        "thinking": "Which city?",
    }
    assert (in_sharegpt.losses, in_alpaca.losses) == (frozenset(), {Loss.THOUGHTS})


def test_alpaca_keeps_system_and_history_and_loses_tools():
    calling = Message("assistant", "", (CALL,))

    expressed = express(
        conversation(
            *(Message("system", "Be brief."), ASKED, calling, Message("tool", "20"), TOLD, MORE, THEN),
            tools=(TOOL,),
        ),
        Format.ALPACA,
    )

    assert expressed.row == {
        "instruction": "Of Spain?",
        "input": "",
        "output": "Madrid.",
        "system": "Be brief.",
        "history": [["Capital of France?", "Paris."]],
    }
    assert expressed.losses == {Loss.TOOLS, Loss.TOOL_CALLS}


def test_a_completion_makes_earlier_answers_context_and_says_so():
    expressed = express(conversation(ASKED, TOLD, MORE, THEN, ASKED), Format.PROMPT_COMPLETION)

    assert [turn["content"] for turn in expressed.row["prompt"]] == [
        "Capital of France?",
        "Paris.",
        "Of Spain?",
    ]
    assert expressed.row["completion"] == [{"role": "assistant", "content": "Madrid."}]
    assert expressed.losses == {Loss.EARLIER_ANSWERS, Loss.LAST_QUESTION}


def test_answers_that_are_not_learned_may_stand_in_a_prompt():
    context = Message("assistant", "Paris.", is_trained=False)

    expressed = express(conversation(ASKED, context, MORE, THEN), Format.PROMPT_COMPLETION)

    assert expressed.losses == frozenset()
    assert "train" not in expressed.row["prompt"][1]


def test_an_answer_that_is_not_to_be_learned_is_refused_where_it_would_be():
    context = Message("assistant", "Paris.", is_trained=False)

    with pytest.raises(CannotExpress, match=r"messages\[1\] has train: false, which alpaca cannot represent"):
        express(conversation(ASKED, context, MORE, THEN), Format.ALPACA)


def test_sharegpt_says_what_is_not_to_be_learned_and_that_several_tools_are_called():
    context = Message("assistant", "", (CALL, CALL), is_trained=False)

    expressed = express(conversation(ASKED, context, THEN), Format.SHAREGPT)

    turn = expressed.row["conversations"][1]
    assert (turn["from"], turn["train"], json.loads(turn["value"])) == ("function_call", False, [CALL, CALL])
    assert expressed.losses == frozenset()


@pytest.mark.parametrize(
    "turns",
    [(Message("system", ""), ASKED, TOLD), (ASKED, TOLD, Message("system", "x"), MORE, THEN)],
)
def test_alpaca_has_room_for_one_system_message_that_says_something(turns):
    expressed = express(conversation(*turns), Format.ALPACA)

    assert "system" not in expressed.row
    assert expressed.losses == {Loss.SYSTEM}


@pytest.mark.parametrize(
    "format, said, reason",
    [
        (Format.MESSAGES, conversation(Message("assistant", "A tale."), is_plain_text=True), "no turns"),
        (Format.ALPACA, conversation(ASKED, ASKED, TOLD), "do not alternate"),
        (Format.ALPACA, conversation(TOLD), "do not alternate"),
        (Format.ALPACA, conversation(ASKED, Message("assistant", "", (CALL,))), "no answer"),
        (Format.PROMPT_COMPLETION, conversation(TOLD), "speaks first"),
        (Format.SHAREGPT, conversation(ASKED, Message("assistant", "Look:", (CALL,))), "has text and"),
    ],
)
def test_what_a_format_has_no_place_for_is_refused(format, said, reason):
    with pytest.raises(CannotExpress, match=reason):
        express(said, format)


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(CannotExpress, match="too large"):
        to_line({"metadata": {"score": float("inf")}})


def test_half_a_surrogate_pair_in_metadata_stays_what_it_is():
    line = to_line({"metadata": {"name": "\ud800"}})

    assert json.loads(line) == {"metadata": {"name": "\ud800"}}


EXTRA = st.dictionaries(st.sampled_from(["name", "reasoning_content"]), st.text(min_size=1, max_size=5))
CALLS = st.lists(st.just(CALL), max_size=2).map(tuple)
TURNS = st.one_of(
    st.builds(Message, st.sampled_from(["system", "user", "tool"]), st.text(max_size=20), extra=EXTRA),
    st.builds(
        Message,
        st.just("assistant"),
        st.text(max_size=20),
        tool_calls=CALLS,
        extra=EXTRA,
        is_trained=st.booleans(),
    ),
)
CONVERSATIONS = st.builds(
    lambda turns, tools, metadata: Conversation((*turns, TOLD), tools, metadata=metadata),
    st.lists(TURNS, max_size=5),
    st.lists(st.just(TOOL), max_size=1).map(tuple),
    st.dictionaries(st.sampled_from(["skill", "note"]), st.text(max_size=5), max_size=2),
)


@pytest.mark.parametrize("format", Format)
@given(said=CONVERSATIONS)
def test_what_is_said_without_loss_reads_back_as_the_same(format, said):
    try:
        expressed = express(said, format)
    except CannotExpress:
        return

    found, read = read_row(json.loads(to_line(expressed.row)))

    assert found.name == format.value.replace("-", "_")
    if not expressed.losses:
        assert read == said


@pytest.mark.parametrize("format", Format)
@given(said=CONVERSATIONS)
def test_no_format_makes_anything_be_learned_that_was_not(format, said):
    try:
        expressed = express(said, format)
    except CannotExpress:
        return

    read = read_conversation(json.loads(to_line(expressed.row)))

    learned = {turn.content for turn in said.messages if turn.role == "assistant" and turn.is_trained}
    assert {turn.content for turn in read.messages if turn.role == "assistant" and turn.is_trained} <= learned
