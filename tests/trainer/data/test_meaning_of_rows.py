"""A row is trained as what its author meant, or refused; and no word of it is lost on reading."""

import json
from typing import Any

import pytest

from tests.support import every_case, row, write_jsonl
from trainer.data import conversation as conversations
from trainer.data.checks.file_check import check_file
from trainer.data.conversation import Message
from trainer.data.formats import read_conversation, read_row
from trainer.data.formats.registry import MAX_TURNS
from trainer.data.formats.tools import MAX_CALLS, MAX_TOOLS
from trainer.data.formats.unsupported import UNSUPPORTED, UNSUPPORTED_IN_MESSAGES
from trainer.data.reading.rows import MAX_NESTING, BadRow, parse_row

PAIR = {"prompt": "p", "completion": "c"}
ALPACA = {"instruction": "i", "output": "o"}
SAID = {"role": "assistant", "content": "a"}
PICTURE = {"image": "cat.png"}


def refusal(value: Any, **options: Any) -> str:
    with pytest.raises(BadRow) as caught:
        read_conversation(value, **options)
    return str(caught.value)


def beside(**more: Any) -> Message:
    """Return an answer as it is read with these keys beside its role and content."""
    return read_conversation({"messages": [SAID | more]}).messages[0]


READ: list[tuple[dict[str, Any], str, list[tuple[str, str]]]] = [
    ({"question": "q", "context": "c", "answer": "a"}, "prompt_completion", [("user", "q\n\nc")]),
    ({"question": "q", "context": "", "answer": "a"}, "prompt_completion", [("user", "q")]),
    (
        {"instruction": "i", "context": "c", "response": "a", "category": "k"},
        "alpaca",
        [("user", "i\n\nc")],
    ),
    ({"instruction": "i", "context": "c", "output": "a"}, "alpaca", [("user", "i\n\nc")]),
    ({"instruction": "i c", "input": "c", "output": "a"}, "alpaca", [("user", "i c\n\nc")]),
    ({"instruction": "i", "context": "c", "input": "n", "output": "a"}, "alpaca", [("user", "i\n\nc\n\nn")]),
    ({"instruction": "i", "response": "a"}, "alpaca", [("user", "i")]),
    ({"prompt": "p", "context": "c", "response": "a"}, "prompt_completion", [("user", "p\n\nc")]),
    ({"prompt": "of c: p", "context": "c", "response": "a"}, "prompt_completion", [("user", "of c: p")]),
    (
        {"system_prompt": "s", "question": "q", "response": "a", "id": "niv.1"},
        "prompt_completion",
        [("system", "s"), ("user", "q")],
    ),
    ({"input": "q", "output": "a", "system_prompt": ""}, "prompt_completion", [("user", "q")]),
    (
        {"prompt": "p", "response": "a", "history": [["x", "y"]]},
        "prompt_completion",
        [("user", "x"), ("assistant", "y"), ("user", "p")],
    ),
    ({"query": "q", "response": "a", "type": "GSM"}, "prompt_completion", [("user", "q")]),
    ({"problem": "q", "solution": "a", "answer": "42"}, "prompt_completion", [("user", "q")]),
    ({"question": "q", "solution": "a", "answer": "42"}, "prompt_completion", [("user", "q")]),
    ({"inputs": "q", "targets": "a"}, "prompt_completion", [("user", "q")]),
    ({"human": "q", "assistant": "a"}, "prompt_completion", [("user", "q")]),
    ({"conversation": [{"input": "q", "output": "a"}]}, "conversation", [("user", "q")]),
    (
        {"conversation": [{"system": "s", "human": "q", "assistant": "b"}, {"human": "r", "assistant": "a"}]},
        "conversation",
        [("system", "s"), ("user", "q"), ("assistant", "b"), ("user", "r")],
    ),
    ({"conversation": [{"role": "user", "content": "q"}, SAID]}, "conversation", [("user", "q")]),
    ({"conversations": [{"role": "user", "content": "q"}, SAID]}, "sharegpt", [("user", "q")]),
    (
        {"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        "messages",
        [("user", "q")],
    ),
    (
        {"messages": [{"role": "developer", "content": "s"}, {"role": "human", "content": "q"}, SAID]},
        "messages",
        [("system", "s"), ("user", "q")],
    ),
    (
        {"messages": [{"role": "system", "content": "s"}, SAID], "system_prompt": "s"},
        "messages",
        [("system", "s")],
    ),
    ({"messages": [SAID], "prompt": "p", "answer": "z", "solution": "y"}, "messages", []),
    ({"messages": [SAID], "completions": ["a", "b"], "rejected": None, "images": []}, "messages", []),
    (
        {"input": [{"role": "user", "content": "q"}], "output": "a", "reasoning": "on"},
        "prompt_completion",
        [("user", "q")],
    ),
    ({"prompt": [{"type": "text", "text": "p"}], "completion": "a"}, "prompt_completion", [("user", "p")]),
    # As `datasets` writes a Sequence of objects
    ({"messages": {"role": ["user", "assistant"], "content": ["q", "a"]}}, "messages", [("user", "q")]),
    (
        {"conversations": {"from": ["human", "gpt"], "value": ["q", "a"], "weight": None}},
        "sharegpt",
        [("user", "q")],
    ),
    ({"conversation": {"input": ["q"], "output": ["a"]}}, "conversation", [("user", "q")]),
    (
        {
            "prompt": {"role": ["user"], "content": ["p"]},
            "completion": {"role": ["assistant"], "content": ["a"]},
        },
        "prompt_completion",
        [("user", "p")],
    ),
    (
        {"conversations": [{"from": "function", "value": "r"}, {"from": "gpt", "value": "a"}]},
        "sharegpt",
        [("tool", "r")],
    ),
    # Questions that stand in a row twice
    (
        {"instruction": "i", "input": "", "output": "a", "prompt": "### Instruction:\ni\n### Response:"},
        "alpaca",
        [("user", "i")],
    ),
    (
        {"question": "Who is it?", "answer": "a", "problem": "Who is it?"},
        "prompt_completion",
        [("user", "Who is it?")],
    ),
    (
        {"query": "q", "response": "a", "original_question": "What is it?"},
        "prompt_completion",
        [("user", "q")],
    ),
]


def test_published_schemas_are_read_as_their_authors_meant_them():
    with every_case() as cases:
        for value, format, turns in READ:
            with cases.case(json.dumps(value)):
                found, conversation = read_row(value)

                assert found.name == format
                read = [(message.role, message.content) for message in conversation.messages]
                assert read == [*turns, ("assistant", "a")]


@pytest.mark.parametrize("key", ["reasoning_content", "thinking"])
def test_thoughts_beside_an_answer_are_those_of_the_answer(key):
    conversation = read_conversation(PAIR | {key: "Let us see."})

    assert conversation.messages == (
        Message("user", "p"),
        Message("assistant", "c", extra={key: "Let us see."}),
    )


def test_functions_are_tools_by_their_older_name():
    tools = [{"name": "add"}]

    assert read_conversation(row() | {"functions": tools}) == read_conversation(row() | {"tools": tools})
    assert "functions differs from tools" in refusal(row() | {"functions": tools, "tools": [{"name": "b"}]})


# ---- what is refused

CALL = {"name": "f", "arguments": {"a": 1}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        'found "chosen" with "rejected": preference pairs (DPO)',
    ),
    ({"chosen": [SAID], "rejected": [SAID]}, 'found "chosen" with "rejected": preference pairs (DPO)'),
    (row() | {"chosen": "a", "rejected": "b"}, 'found "chosen" with "rejected": preference pairs (DPO)'),
    (PAIR | {"rejected": "b"}, 'found "rejected": preference pairs (DPO)'),
    (row() | {"rejected_response": "b"}, 'found "rejected_response": preference pairs (DPO)'),
    ({"prompt": "p", "completion_a": "a", "completion_b": "b"}, 'found "completion_a" with "completion_b"'),
    (PAIR | {"label": False}, 'found "label": answers labelled good or bad (KTO)'),
    (PAIR | {"label": True}, 'found "label": answers labelled good or bad (KTO)'),
    (row() | {"label": 0}, 'found "label": answers labelled good or bad (KTO)'),
    (
        {"prompt": "p", "completions": ["a"], "labels": [True]},
        'found "completions" with "labels": steps with',
    ),
    ({"prompt": "p", "completions": ["a", "b"]}, 'found "completions": several answers'),
    (
        {"message_id": "1", "parent_id": None, "text": "t", "role": "prompter"},
        'found "role" with "text" with "message_id": single messages of a tree',
    ),
    (row() | {"images": ["a.png"]}, 'found "images": images, sound and video'),
    (PAIR | PICTURE, 'found "image": images, sound and video'),
    ({"text": "t", "label": 0}, 'found "label": a text with a label'),
    ({"text": "t", "summary": "s"}, 'found "summary": a text with an answer'),
    (PAIR | {"suffix": "s"}, 'found "suffix": filling in a middle'),
    ({"question": "q", "choices": ["a", "b"], "answer": "a"}, 'found "choices": the choices of a question'),
    ({"question": "q", "passage": "Two words", "answer": "a"}, 'found "passage": a passage beside'),
    (row() | {"documents": [{"title": "t"}]}, 'found "documents": documents beside'),
    (row() | {"available_tools": [{"name": "f"}]}, 'found "available_tools": tools under this name would'),
    (row() | {"system_message": "Be brief."}, 'found "system_message": instructions under this name would'),
    (PAIR | {"instructions": "Be brief."}, 'found "instructions": instructions under this name would'),
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "content": "b c"}]},
        "found conversations[1].content beside value, which would be lost; expected the words of a message",
    ),
    (
        {"messages": [SAID | {"value": "Some words"}]},
        "found messages[0].value beside content, which would be lost",
    ),
    (row() | {"history": [["a", "b"]]}, 'found "history": earlier turns'),
    (PAIR | {"tool_calls": [CALL]}, 'found "tool_calls": calls of tools beside an answer would be lost'),
    (
        {"conversation": [{"input": "q", "output": "a", "tool_calls": [CALL]}]},
        "found conversation[0].tool_calls, which would be lost",
    ),
    ({"messages": [SAID | {"tool_call": CALL}]}, "found messages[0].tool_call, which would be lost"),
    ({"messages": [SAID | {"chain_of_thought": "a b"}]}, "found messages[0].chain_of_thought, which would"),
    ({"messages": [SAID | {"functions": "[]"}]}, "found messages[0].functions, which would be lost"),
    (PAIR | {"reasoning": "Let us see."}, 'found "reasoning": it may be the thoughts'),
    ({"question": "q", "answer": "a", "response": "b"}, 'found "answer" with "response": two answers'),
    (
        {"instruction": "In French.", "question": "What is it?", "answer": "a"},
        'found "question" with "instruction": two questions; expected one; join them, remove one, or name '
        'one of them in data.fields, such as {"context": "instruction"}',
    ),
    (
        {"instruction": "i", "query": "What is it?", "response": "a"},
        'found "instruction" with "query": two questions',
    ),
    ({"definition": "In this task", "inputs": "q", "targets": "a"}, 'found "inputs" with "definition": two'),
    (PAIR | {"label": "False"}, 'found "label": answers labelled good or bad (KTO)'),
    (PAIR | {"label": 1.0}, 'found "label": answers labelled good or bad (KTO)'),
    (
        {"question": {"problem": "p"}, "label": {"steps": [{"completions": []}]}},
        'found "label": steps with labels (process rewards, as in PRM800K)',
    ),
    (
        {"input": {"messages": []}, "preferred_output": [SAID], "non_preferred_output": [SAID]},
        'found "preferred_output" with "non_preferred_output": preference pairs (DPO)',
    ),
    (PAIR | {"generations": ["a", "b"]}, 'found "generations": several answers'),
    (PAIR | {"thinking_trajectories": ["Let us see."]}, 'found "thinking_trajectories": it may be the thoug'),
    ({"text": "Write it.", "code": "it()"}, 'found "code": a text with an answer'),
    (row() | {"train": False}, 'found "train": a row is trained unless it is left out'),
    (row() | {"chat_template_kwargs": {"enable_thinking": False}}, 'found "chat_template_kwargs": options'),
    (
        row() | {"tools": [{"function": {"parameters": {"properties": {"a": {}, "b": None}}}}]},
        'tools[0] has the parameter "b", which is null; expected its schema or no such parameter; if the '
        "library datasets has filled it in, there and in the calls, remove what is null: jq -c 'del(..",
    ),
    (
        {"messages": [SAID | {"channel": "analysis"}, SAID]},
        'messages[0].channel is "analysis", so it is no answer; expected thoughts as "reasoning_content"',
    ),
    (
        {"conversation": [{"input": "q", "output": "a"} | PICTURE]},
        "found conversation[0].image, which would be lost",
    ),
    (
        {"messages": '[{"role": "user"}]'},
        "messages is a list written as text; expected the list itself; unpack it, such as with: "
        "jq -c '.messages |= fromjson' FILE",
    ),
    (
        {"messages": "[{'role': 'user'}]"},
        "messages is \"[{'role': 'user'}]\"; expected a list with at least one message (column 3: ",
    ),
    ({"messages": {"role": ["user"], "content": ["q", "a"]}}, "messages is an object; expected a list with"),
    ({"messages": {"role": "user", "content": "q"}}, "messages is an object; expected a list with at least"),
    (PAIR | {"context": {"a": "b"}}, "context is an object; expected text"),
    ({"prompt": [SAID], "completion": "c", "context": "d"}, "context stands beside a list in prompt"),
    ({"prompt": "p", "completion": [SAID], "thinking": "a b"}, "thinking stands beside a list in completion"),
    (PAIR | {"thinking": "a b", "reasoning_content": "c d"}, "reasoning_content and thinking differ"),
    (PAIR | {"system": "s", "system_prompt": "t"}, "system_prompt differs from system"),
    (
        {"conversation": [{"input": "q", "output": "a"}, 3]},
        "conversation[1] is 3; expected an object with input",
    ),
    ({"messages": [SAID | {"function_call": 3}]}, "messages[0].function_call is 3; expected"),
    (
        {"messages": [SAID | {"function_call": {"name": "f"}, "tool_calls": [{"name": "f"}]}]},
        "messages[0].function_call stands beside tool_calls",
    ),
    (
        {"messages": [{"role": "user", "content": "q", "function_call": {"name": "f"}}]},
        "messages[0].function_call is given with the role user",
    ),
    (
        {"messages": [{"role": "assistant", "content": None, "refusal": "No."}]},
        "found messages[0].refusal, which would be lost",
    ),
    (
        {"messages": [SAID | {"thinking": "a", "reasoning": "b"}]},
        "messages[0] has thinking and reasoning that differ; expected the thoughts once",
    ),
    ({"messages": [SAID | {"reasoning_details": [{"text": "a"}]}]}, "found messages[0].reasoning_details"),
    ({"messages": [SAID | {"loss_weight": 0.5}]}, "messages[0].loss_weight is 0.5; expected 0 or 1"),
    (
        {"conversations": [{"from": "gpt", "value": "a"} | PICTURE]},
        "found conversations[0].image, which would",
    ),
]


def test_a_row_that_means_something_else_is_refused_with_its_key():
    with every_case() as cases:
        for value, told in REFUSED:
            with cases.case(json.dumps(value)):
                assert refusal(value).startswith(told)


def test_each_kind_of_row_says_what_was_expected_in_a_few_words():
    with every_case() as cases:
        for kind in UNSUPPORTED:
            with cases.case(kind.what):
                assert kind.instead.startswith("expected ")
                assert len(kind.what + kind.instead) < 260
        for key, way_out in UNSUPPORTED_IN_MESSAGES.items():
            with cases.case(key):
                assert key in refusal({"messages": [SAID | {key: "words"}]})
                assert len(way_out) < 120


def test_keys_with_nothing_in_them_and_keys_of_bookkeeping_change_nothing():
    nothing: list[Any] = [None, "", [], {}]
    harmless = {
        "id": 7, "score": 0.5, "category": "math", "date": "2026-01-01", "label": "math", "chosen": "yes",
        "rejected": False, "video": 3, "reasoning": "on", "options": "a or b", "url": "u", "labels": "a",
        "train": True, "cot": "on", "chat_template_kwargs": {"tools": []}, "question": "it", "user": "A B",
    }  # fmt: skip

    with every_case() as cases:
        for key in {key for kind in UNSUPPORTED for keys in kind.keys for key in keys} - PAIR.keys():
            for value in nothing:
                with cases.case(f"{key}: {value}"):
                    assert read_conversation(PAIR | {key: value}) == read_conversation(PAIR)
        for key, value in harmless.items():
            with cases.case(key):
                assert read_conversation(PAIR | {key: value}) == read_conversation(PAIR)


@pytest.mark.parametrize(
    "value, fields, answer",
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, {"completion": "chosen"}, "a"),
        ({"prompt": "p", "chosen": [SAID], "rejected": [SAID]}, {"messages": "chosen"}, "a"),
        (
            {"question": "q", "answer": "a", "response": "b"},
            {"completion": "response", "prompt": "question"},
            "b",
        ),
        ({"text": "t", "label": "spam"}, {"prompt": "text", "completion": "label"}, "spam"),
        ({"question": "q", "passage": "two words", "answer": "a"}, {"context": "passage"}, "a"),
    ],
)
def test_what_data_fields_names_is_meant_so(value, fields, answer):
    assert read_conversation(value, fields).messages[-1].content == answer


def test_the_reason_why_a_file_fails_names_the_key_and_the_way_out_once(tmp_path):
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    path = write_jsonl(tmp_path / "dpo.jsonl", [pair] * 3)

    why = check_file(path, max_line_bytes=1024).verdict(0.01) or ""

    assert why.endswith(
        'the first: line 1: found "chosen" with "rejected": preference pairs (DPO) are not trained; expected '
        'one answer; remove the worse one and rename the better one to "completion" (a whole conversation: '
        'to "messages"), or name it in data.fields, such as {"completion": "chosen"}'
    )
    assert len(why) < 400


WAYS_OUT: list[tuple[dict[str, Any], str]] = [
    (
        {"Question": "q", "Complex_CoT": "So, well.", "Response": "a"},
        'keys are told apart by case; say in config.json which is which: {"data": {"fields": {"prompt": '
        '"Question", "completion": "Response"}}}',
    ),
    ({"Instruction": "i", "Output": "o"}, '{"instruction": "Instruction", "output": "Output"}'),
    ({"Text": "t"}, '{"text": "Text"}'),
    (
        {"version": 1, "data": [PAIR, PAIR]},
        "if the rows are inside, write one per line, such as with: jq -c '.data[]' FILE",
    ),
    ({"row": PAIR}, "jq -c '.row' FILE"),
    ({"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": PAIR}]}, "jq -c '.rows[].row' FILE"),
    (
        {"prompt": {"0": "p", "1": "q"}, "completion": {"0": "a", "1": "b"}},
        "it looks like a whole table by columns",
    ),
    ({"prompt": ["p", "q"], "completion": ["a", "b"]}, 'to_json(FILE, orient="records", lines=True)'),
    (
        {"frage": "f", "antwort": "a"},
        'which is which, such as {"data": {"fields": {"prompt": "frage", "completion": "antwort"}}} '
        "(docs/data/formats.md)",
    ),
    ({"question": "q", "answers": {"text": ["a"]}}, '{"prompt": "QUESTION", "completion": "ANSWER"}'),
    ({"data": [{"title": "t"}], "rows": [1], "train": []}, '{"prompt": "QUESTION", "completion": "ANSWER"}'),
]


def test_a_row_without_a_format_says_what_can_be_done():
    with every_case() as cases:
        for value, told in WAYS_OUT:
            with cases.case(json.dumps(value)):
                assert told in refusal(value)


def test_other_names_are_found_in_columns_of_turns():
    fields = {"messages": "dialog", "role": "speaker", "content": "words"}
    columns = {"speaker": ["user", "assistant"], "words": ["q", "a"]}

    read = read_conversation({"dialog": columns}, fields).messages

    assert read == (Message("user", "q"), Message("assistant", "a"))


def test_pairs_of_a_conversation_keep_what_stands_beside_them():
    pair = {"input": "q", "output": "a"}
    beside = [{"output_with_loss": False}, {"train": False}, {"thinking": "Let us see."}]

    turns = read_conversation({"conversation": [pair | keys for keys in beside]}).messages[1::2]

    assert [turn.is_trained for turn in turns] == [False, False, True]
    assert turns[-1].extra == {"thinking": "Let us see."}


def test_a_key_beside_the_trained_text_is_refused_in_every_format_that_has_no_place_for_it():
    chats: list[dict[str, Any]] = [
        {"messages": [SAID]},
        {"conversations": [SAID]},
        {"conversation": [SAID]},
        PAIR,
        ALPACA,
    ]

    with every_case() as cases:
        for value in [*chats, {"text": "t"}]:
            with cases.case(f"a picture beside {value}"):
                assert 'found "image"' in refusal(value | PICTURE)
        for value in chats:
            with cases.case(f"a label beside {value}"):
                assert "(KTO)" in refusal(value | {"label": True})


# ---- inside a message


@pytest.mark.parametrize("key", conversations.REASONING_KEYS)
def test_thoughts_are_kept_under_the_key_that_the_row_used(key):
    assert beside(**{key: "Let us see."}) == Message("assistant", "a", extra={key: "Let us see."})


def test_the_same_thoughts_under_two_keys_are_kept_under_both():
    thoughts = {"reasoning_content": "t", "reasoning": "t"}

    assert beside(**thoughts, reasoning_details=[{"text": "t"}]).extra == thoughts


@pytest.mark.parametrize("content", [None, "a"])
def test_a_call_of_a_function_as_it_once_was_is_a_tool_call(content):
    call = {"name": "add", "arguments": '{"a": 1}'}
    asked = {"role": "assistant", "content": content, "function_call": call}

    conversation = read_conversation(
        {"messages": [asked, {"role": "function", "name": "add", "content": "2"}]}
    )

    function = {"name": "add", "arguments": {"a": 1}}
    assert conversation.messages == (
        Message("assistant", content or "", ({"type": "function", "function": function},)),
        Message("tool", "2", extra={"name": "add"}),
    )


def test_a_turn_of_sharegpt_keeps_what_stands_beside_it():
    turn = {"from": "gpt", "value": "a", "thinking": "t", "tool_calls": [{"name": "f"}], "loss": False}

    [message, _] = read_conversation({"conversations": [turn, {"from": "gpt", "value": "b"}]}).messages

    assert (message.content, message.extra, len(message.tool_calls)) == ("a", {"thinking": "t"}, 1)
    assert not message.is_trained


@pytest.mark.parametrize("flag", [{"loss": False}, {"training": False}, {"loss_weight": 0}])
def test_a_message_may_say_by_other_keys_that_it_is_not_learned(flag):
    [message, _] = read_conversation({"messages": [SAID | flag, SAID]}).messages

    assert not message.is_trained


def test_bookkeeping_of_a_message_is_left_alone():
    bookkeeping = {"id": 3, "timestamp": 1.5, "annotations": [{"url": "u"}], "loss": 0.0, "thinking": True}

    assert beside(**bookkeeping, refusal=None, audio=None, channel="final") == Message("assistant", "a")
    assert beside(value=5) == beside(value="good") == beside(value="a") == Message("assistant", "a")


# ---- limits


def test_a_row_has_a_most_of_turns():
    turns = [SAID] * MAX_TURNS

    assert len(read_conversation({"messages": turns}).messages) == MAX_TURNS
    assert refusal({"messages": [*turns, SAID]}) == (
        "it has 10,001 turns; expected at most 10,000, so split it into rows"
    )


def test_a_turn_has_a_most_of_calls_and_a_row_of_tools():
    calls = [CALL] * MAX_CALLS
    tools = [{"name": "f"}] * MAX_TOOLS

    assert len(beside(tool_calls=calls).tool_calls) == MAX_CALLS
    assert len(read_conversation(row() | {"tools": tools}).tools) == MAX_TOOLS
    assert refusal({"messages": [SAID | {"tool_calls": [*calls, CALL]}]}) == (
        "messages[0].tool_calls has 1,001 calls; expected at most 1,000 in a turn, so split it"
    )
    assert refusal(row() | {"functions": json.dumps([*tools, {"name": "f"}])}) == (
        "functions has 1,001 tools; expected at most 1,000, so leave out some of them"
    )


def test_calls_that_are_the_text_of_a_turn_are_limited_too():
    turns = [{"from": "human", "value": "q"}, {"from": "function_call", "value": json.dumps([CALL] * 1_001)}]

    assert refusal({"conversations": turns}).startswith("conversations[1].value has 1,001 calls; expected at")


def test_a_row_has_a_most_of_calls():
    turn = SAID | {"tool_calls": [CALL] * MAX_CALLS}

    assert refusal({"messages": [turn] * 11}) == (
        "it has 11,000 calls; expected at most 10,000, so split it into rows"
    )


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def test_a_row_is_nested_only_so_deep():
    assert parse_row(nested(MAX_NESTING).encode())
    assert parse_row(json.dumps([{}] * 100).encode())
    for levels in (MAX_NESTING + 1, 100_000):
        with pytest.raises(BadRow, match="nested more than 64 levels deep; expected fewer"):
            parse_row(nested(levels).encode())


def test_arguments_in_a_text_are_nested_only_so_deep():
    call = {"name": "f", "arguments": f'{{"a": {nested(MAX_NESTING)}}}'}

    assert "(nested more than 64 levels deep)" in refusal({"messages": [SAID | {"tool_calls": [call]}]})
