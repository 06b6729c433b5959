"""From the value of a row to a Conversation, or to the reason why there is none."""

from typing import Any

import pytest

from tests.support import row
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation
from trainer.data.rows import BadRow

ANSWER = {"role": "assistant", "content": "b"}


def messages(*items: Any) -> dict[str, Any]:
    return {"messages": list(items)}


def test_messages_become_a_conversation_in_their_order():
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("tool", "t"), ("assistant", "b")]

    conversation = read_conversation(messages(*({"role": role, "content": text} for role, text in turns)))

    assert conversation == Conversation(tuple(Message(role, text) for role, text in turns))


def test_other_keys_are_left_alone():
    value = row("q", "a") | {"id": 7, "source": None}
    value["messages"][0]["name"] = "Ann"

    assert read_conversation(value) == read_conversation(row("q", "a"))


@pytest.mark.parametrize("content", ["", " ", "<|im_end|>", "a\n\u2028🎉\0"])
def test_the_text_of_a_message_is_taken_as_it_is(content):
    conversation = read_conversation(messages({"role": "user", "content": content}, ANSWER))

    assert conversation.messages[0].content == content


def test_some_answers_may_be_empty_but_not_all():
    empty = {"role": "assistant", "content": ""}

    assert len(read_conversation(messages(empty, ANSWER)).messages) == 2
    with pytest.raises(BadRow, match="nothing to learn"):
        read_conversation(messages(empty, empty))


@pytest.mark.parametrize(
    "value, told",
    [
        (None, 'found missing or null; expected an object with "messages"'),
        ([], 'found an empty list; expected an object with "messages"'),
        ("x" * 100, f'found "{"x" * 39}…"; expected an object with "messages"'),
        (3, 'found 3; expected an object with "messages"'),
        ({}, 'found no keys; expected the key "messages"'),
        ({"prompt": 1, "a\nb": 2}, 'found "prompt", "a\\nb"; expected the key "messages"'),
        ({"messages": None}, "messages is missing or null; expected a list with at least one message"),
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
            "messages[0].content is missing or null; expected a text",
        ),
        (messages({"role": "assistant", "content": ["a"]}), "messages[0].content is a list; expected a text"),
        (messages({"role": "assistant", "content": True}), "messages[0].content is True; expected a text"),
        (
            messages(ANSWER, {"role": "user", "content": "\ud83d"}),
            "messages[1].content holds half of a surrogate pair; expected valid Unicode",
        ),
        (
            messages({"role": "user", "content": "a"}),
            "no message of the assistant has content, so there is nothing to learn",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_says_where_what_and_what_was_expected(value, told):
    with pytest.raises(BadRow) as caught:
        read_conversation(value)

    assert str(caught.value) == told
