"""From the value of a row to a Conversation, or to the reason why there is none."""

import json
from typing import Any

import pytest

from tests.support import row
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation, read_row
from trainer.data.reading.rows import BadRow

NO_FORMAT = (
    'expected "messages" or "conversations" or "instruction" with "output" or "response" or "prompt" with '
    '"completion" or "response" or "conversation" or "text"; rename the keys, such as to '
    '"question" and "answer", or say in config.json which is which, such as {"data": {"fields": '
    '{"prompt": "QUESTION", "completion": "ANSWER"}}} (docs/data/formats.md)'
)
NO_OBJECT = 'expected an object, such as {"messages": [...]}'
ANSWER = {"role": "assistant", "content": "b"}


def messages(*items: Any) -> dict[str, Any]:
    return {"messages": list(items)}


def test_messages_become_a_conversation_in_their_order():
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("tool", "t"), ("assistant", "b")]

    conversation = read_conversation(messages(*({"role": role, "content": text} for role, text in turns)))

    assert conversation == Conversation(tuple(Message(role, text) for role, text in turns))


def test_other_keys_are_left_alone():
    value = row("q", "a") | {"id": 7, "source": None}
    value["messages"][0]["id"] = 3

    assert read_conversation(value) == read_conversation(row("q", "a"))


@pytest.mark.parametrize("content", ["", " ", "<|im_end|>", "a\n\u2028🎉\0"])
def test_the_text_of_a_message_is_taken_as_it_is(content):
    conversation = read_conversation(messages({"role": "user", "content": content}, ANSWER))

    assert conversation.messages[0].content == content


def test_some_answers_may_be_empty_but_not_all():
    empty = {"role": "assistant", "content": ""}

    assert len(read_conversation(messages(empty, ANSWER)).messages) == 2
    with pytest.raises(BadRow, match="nothing to train"):
        read_conversation(messages(empty, empty))


@pytest.mark.parametrize(
    "value, told",
    [
        (None, f"found missing or null; {NO_OBJECT}"),
        ([], f"found an empty list; {NO_OBJECT}"),
        ("x" * 100, f'found "{"x" * 39}…"; {NO_OBJECT}'),
        (3, f"found 3; {NO_OBJECT}"),
        ({}, f"found no keys; {NO_FORMAT}"),
        ({"prompt": 1, "a\nb": 2}, f'found "prompt", "a\\nb"; {NO_FORMAT}'),
        ({"messages": None}, f'found "messages" (null); {NO_FORMAT}'),
        (dict.fromkeys("abcdefg", 1), f'found "a", "b", "c", "d", "e" and 2 more; {NO_FORMAT}'),
        ({"messages": []}, "messages is an empty list; expected a list with at least one message"),
        ({"messages": {"role": "user"}}, "messages is an object; expected a list with at least one message"),
        (messages(ANSWER, "hi"), 'messages[1] is "hi"; expected an object with role and content'),
        (
            messages({"role": "asistant", "content": "a"}),
            'messages[0].role is "asistant"; expected system, user, assistant or tool',
        ),
        (
            messages({"content": "a"}),
            "messages[0].role is missing or null; expected system, user, assistant or tool",
        ),
        (
            messages({"role": ["user"], "content": "a"}),
            "messages[0].role is a list; expected system, user, assistant or tool",
        ),
        (
            messages({"role": "Assistant\x1b", "content": "a"}),
            'messages[0].role is "Assistant\\x1b"; expected system, user, assistant or tool',
        ),
        (
            messages({"role": "assistant"}),
            "messages[0].content is missing or null; expected text",
        ),
        (
            messages({"role": "assistant", "content": ["a"]}),
            'messages[0].content[0] is "a"; expected {"type": "text", "text": …}',
        ),
        (
            messages({"role": "user", "content": [{"type": "image_url"}]}),
            'messages[0].content[0].type is "image_url"; expected "text", the only kind that is trained',
        ),
        (
            messages({"role": "user", "content": [{"type": "text"}]}),
            "messages[0].content[0].text is missing or null; expected text",
        ),
        (messages({"role": "user", "content": []}), "messages[0].content is an empty list; expected text"),
        (messages(ANSWER | {"train": "no"}), 'messages[0].train is "no"; expected true or false'),
        (messages(ANSWER | {"weight": 0.5}), "messages[0].weight is 0.5; expected 0 or 1"),
        (messages(ANSWER | {"name": 3}), "messages[0].name is 3; expected text"),
        (
            messages(ANSWER | {"train": False}, ANSWER | {"weight": 0}),
            "every message of the assistant has train: false, so there is nothing to train",
        ),
        (row() | {"tools": {}}, "tools is an object; expected a list of objects"),
        (row() | {"tools": ["f"]}, 'tools[0] is "f"; expected an object with the schema of a function'),
        (
            row() | {"tools": "[1"},
            'tools is "[1"; expected a list or its JSON text '
            "(column 3: a comma or a closing bracket is missing)",
        ),
        (
            row() | {"tools": [{"name": "\ud800"}]},
            "tools holds half of a surrogate pair; expected valid Unicode",
        ),
        (row() | {"system": 3}, "system is 3; expected text"),
        (
            messages({"role": "system", "content": "s"}, ANSWER) | {"system": "t"},
            "system stands beside a first message of the role system; expected only one of them",
        ),
        (messages({"role": "assistant", "content": True}), "messages[0].content is True; expected text"),
        (
            messages(ANSWER, {"role": "user", "content": "\ud83d"}),
            "messages[1].content holds half of a surrogate pair; expected valid Unicode",
        ),
        (
            messages({"role": "user", "content": "a"}),
            "no message of the assistant has content, so there is nothing to train",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_says_where_what_and_what_was_expected(value, told):
    with pytest.raises(BadRow) as caught:
        read_conversation(value)

    assert str(caught.value) == told


# ---- messages: parts, tools, and what is not learned


def test_parts_of_a_text_are_joined():
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]

    conversation = read_conversation(messages({"role": "user", "content": parts}, ANSWER))

    assert conversation.messages[0].content == "a b"


@pytest.mark.parametrize("flag", [{"train": False}, {"weight": 0}, {"train": False, "weight": 0}])
def test_a_message_may_say_that_it_is_not_learned(flag):
    conversation = read_conversation(messages(ANSWER | flag, ANSWER | {"train": True, "weight": 1}))

    assert [message.is_trained for message in conversation.messages] == [False, True]


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}},
        {"id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "1", "name": "add", "arguments": {"a": 1}},
    ],
)
def test_calls_come_in_the_form_that_templates_expect(call):
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = {"role": "tool", "content": "2", "tool_call_id": "1", "name": "add"}

    conversation = read_conversation(messages(asked, told) | {"tools": [{"type": "function"}]})

    function = {"name": "add", "arguments": {"a": 1}}
    assert conversation == Conversation(
        (
            Message("assistant", "", ({"id": "1", "type": "function", "function": function},)),
            Message("tool", "2", extra={"tool_call_id": "1", "name": "add"}),
        ),
        tools=({"type": "function"},),
    )


@pytest.mark.parametrize(
    "calls, told",
    [
        ({}, "messages[0].tool_calls is an object; expected a list of calls"),
        ([3], 'messages[0].tool_calls[0] is 3; expected {"function": {"name": …, "arguments": {…}}}'),
        ([{}], 'messages[0].tool_calls[0] has no name of a function; expected {"function": {"name": …}}'),
        ([{"type": "code"}], 'messages[0].tool_calls[0].type is "code"; expected "function"'),
        (
            [{"function": {"name": "f", "parameters": {"a": 1}}}],
            "found messages[0].tool_calls[0].function.parameters, which would be lost; expected the "
            'arguments as "arguments" beside the name; rename the key',
        ),
        (
            [{"name": "f", "input": {"a": 1}}],
            "found messages[0].tool_calls[0].input, which would be lost; expected the arguments as "
            '"arguments" beside the name; rename the key',
        ),
        (
            [{"function": {"name": "f"}, "arguments": {"a": 1}}],
            "found messages[0].tool_calls[0].arguments, which would be lost; expected the arguments as "
            '"arguments" beside the name; rename the key',
        ),
        (
            [{"name": "f", "arguments": 3}],
            "messages[0].tool_calls[0].function.arguments is 3; expected an object or its JSON text",
        ),
        (
            [{"name": "f", "arguments": "[]"}],
            'messages[0].tool_calls[0].function.arguments is "[]"; expected an object or its JSON text',
        ),
        (
            [{"name": "\udc00"}],
            "messages[0].tool_calls holds half of a surrogate pair; expected valid Unicode",
        ),
    ],
)
def test_a_call_that_cannot_be_shown_says_where_what_and_what_was_expected(calls, told):
    with pytest.raises(BadRow) as caught:
        read_conversation(messages({"role": "assistant", "content": "a", "tool_calls": calls}))

    assert str(caught.value) == told


def test_only_the_assistant_calls_functions():
    call = {"function": {"name": "f"}}

    with pytest.raises(BadRow, match="tool_calls is given with the role user"):
        read_conversation(messages({"role": "user", "content": "a", "tool_calls": [call]}, ANSWER))


# ---- the other formats


@pytest.mark.parametrize(
    "value, format, turns",
    [
        (row("q", "a"), "messages", [("user", "q"), ("assistant", "a")]),
        (
            {"conversations": [{"from": "system", "value": "s"}, {"from": "gpt", "value": "a"}]},
            "sharegpt",
            [("system", "s"), ("assistant", "a")],
        ),
        (
            {"conversations": [{"from": who, "value": who} for who in ("user", "bing", "tool", "chatgpt")]},
            "sharegpt",
            [("user", "user"), ("assistant", "bing"), ("tool", "tool"), ("assistant", "chatgpt")],
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "f("}]},
            "sharegpt",
            [("user", "q"), ("assistant", "f(")],
        ),
        ({"instruction": "i", "output": "o"}, "alpaca", [("user", "i"), ("assistant", "o")]),
        (
            {"instruction": "i", "input": "c", "output": "o", "text": "i c o"},
            "alpaca",
            [("user", "i\n\nc"), ("assistant", "o")],
        ),
        (
            {"instruction": "i", "input": "", "output": "o", "history": [["a", "b"]], "system": "s"},
            "alpaca",
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "i"), ("assistant", "o")],
        ),
        ({"prompt": "p", "completion": "c"}, "prompt_completion", [("user", "p"), ("assistant", "c")]),
        ({"prompt": "p", "response": "r"}, "prompt_completion", [("user", "p"), ("assistant", "r")]),
        ({"question": "q", "answer": "a"}, "prompt_completion", [("user", "q"), ("assistant", "a")]),
        ({"input": "i", "output": "o"}, "prompt_completion", [("user", "i"), ("assistant", "o")]),
        (
            {"prompt": [{"role": "system", "content": "s"}], "completion": [ANSWER]},
            "prompt_completion",
            [("system", "s"), ("assistant", "b")],
        ),
        ({"messages": None, "text": "t"}, "text", [("assistant", "t")]),
    ],
)
def test_each_format_becomes_a_conversation(value, format, turns):
    found, conversation = read_row(value)

    assert found.name == format
    assert [(message.role, message.content) for message in conversation.messages] == turns
    assert conversation.is_plain_text == (format == "text")


def test_a_call_in_sharegpt_is_read_as_one_if_it_is_json():
    call = '{"name": "add", "arguments": {"a": 1}}'

    conversation = read_conversation({"conversations": [{"from": "function_call", "value": call}]})

    function = {"name": "add", "arguments": {"a": 1}}
    assert conversation.messages == (Message("assistant", "", ({"type": "function", "function": function},)),)


def test_nothing_in_a_prompt_of_messages_is_learned():
    conversation = read_conversation({"prompt": [ANSWER], "completion": [ANSWER]})

    assert [message.is_trained for message in conversation.messages] == [False, True]


@pytest.mark.parametrize(
    "value, told",
    [
        ({"conversations": []}, "conversations is an empty list; expected a list with at least one turn"),
        ({"conversations": ["a"]}, 'conversations[0] is "a"; expected an object with from and value'),
        (
            {"conversations": [{"from": ["gpt"], "value": "a"}]},
            "conversations[0].from is a list; expected one of human, user, gpt, assistant, chatgpt, bing, "
            "system, developer, tool, function, observation, function_call",
        ),
        ({"conversations": [{"from": "gpt"}]}, "conversations[0].value is missing or null; expected text"),
        ({"instruction": 1, "output": "o"}, "instruction is 1; expected text"),
        ({"instruction": "i", "input": 2, "output": "o"}, "input is 2; expected text"),
        (
            {"instruction": "i", "output": "o", "history": "h"},
            'history is "h"; expected a list of [question, answer]',
        ),
        (
            {"instruction": "i", "output": "o", "history": [["q"]]},
            "history[0] is a list; expected [question, answer]",
        ),
        ({"question": "q", "answer": 42}, "answer is 42; expected text"),
        (
            {"prompt": "p", "completion": []},
            "completion is an empty list; expected a list with at least one message",
        ),
        ({"text": ["t"]}, 'text[0] is "t"; expected {"type": "text", "text": …}'),
        (
            {"text": ""},
            "the text is empty, so there is nothing to train; expected words, so leave out such rows",
        ),
    ],
)
def test_a_row_of_another_format_says_where_what_and_what_was_expected(value, told):
    with pytest.raises(BadRow) as caught:
        read_conversation(value)

    assert str(caught.value) == told


# ---- conversations inside an answer


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(row()["messages"]),
        json.dumps(row(), indent=1),
        json.dumps({"conversations": [{"from": "gpt", "value": "a"}]}),
        str(row()["messages"]),
        " " + str(row()),
    ],
)
def test_an_answer_that_is_a_conversation_itself_is_refused(answer):
    with pytest.raises(BadRow, match="an answer is itself a list of messages"):
        read_conversation(row("q", answer))


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "{",
        '[{"value": 3}]',
        '{"role": "user", "content": "a"}',
        '[{"from": "Rome", "to": "Bonn"}]',
        "[{",
    ],
)
def test_an_answer_in_json_is_no_conversation_by_that(answer):
    assert read_conversation(row("q", answer)).messages[1].content == answer


# ---- other names


@pytest.mark.parametrize(
    "value, fields, expected",
    [
        (
            {"frage": "q", "antwort": "a"},
            {"prompt": "frage", "completion": "antwort"},
            {"prompt": "q", "completion": "a"},
        ),
        (
            {"dialog": [{"speaker": "assistant", "words": "a"}]},
            {"messages": "dialog", "role": "speaker", "content": "words"},
            {"messages": [{"role": "assistant", "content": "a"}]},
        ),
        (
            {"input": "answer", "output": "question"},
            {"prompt": "output", "completion": "input"},
            {"prompt": "question", "completion": "answer"},
        ),
        (row(), {"messages": "dialog", "role": "speaker"}, row()),
        ({"text": "t", "prompt": "p"}, {"completion": "text"}, {"prompt": "p", "completion": "t"}),
    ],
)
def test_a_row_may_have_other_names(value, fields, expected):
    assert read_conversation(value, fields) == read_conversation(expected)


def test_an_error_says_which_names_were_given():
    with pytest.raises(BadRow) as caught:
        read_conversation({"dialog": []}, {"messages": "dialog"})

    assert str(caught.value) == (
        "messages is an empty list; expected a list with at least one message "
        '(by data.fields, messages is "dialog")'
    )


# ---- what a row says of itself


def test_metadata_is_kept_beside_the_messages():
    value = row() | {
        "metadata": {"seed": 3, "skill": "old"},
        "skill": "reverse",
        "source": None,
        "difficulty": 2,
    }

    conversation = read_conversation(value)

    assert conversation.metadata == {"seed": 3, "skill": "reverse", "difficulty": 2}
    assert conversation.messages == read_conversation(row()).messages


def test_a_text_has_metadata_too():
    assert read_conversation({"text": "t", "source": "wiki"}).metadata == {"source": "wiki"}
