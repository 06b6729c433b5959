"""Conversations of every shape that rows have."""

from dataclasses import replace
from typing import Any

from trainer.data.conversation import Conversation, Message, Role

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
WITH_ID = {**CALL, "id": "abcdefghi"}
TRIP_TOOL = {
    "type": "function",
    "function": {
        "name": "trip",
        "description": "Plans a trip.",
        "parameters": {
            "type": "object",
            "properties": {"stops": {"type": "array"}, "how": {"type": "object"}},
            "required": ["stops"],
        },
    },
}
TRIP = {
    "type": "function",
    "id": "123456789",
    "function": {
        "name": "trip",
        "arguments": {"stops": ["Köln", "Ulm"], "how": {"by": "train", "hours": 4.5, "is_direct": True}},
    },
}


def said(*turns: tuple[Role, str]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in turns))


def talk(*messages: Message, tools: tuple[dict[str, Any], ...] = ()) -> Conversation:
    return Conversation(messages, tools=tools)


def thinking(words: str, thoughts: str, key: str = "reasoning_content", **rest: Any) -> Message:
    return Message("assistant", words, extra={key: thoughts}, **rest)


LONG = [
    ("user", "Say one."),
    ("assistant", "One it is."),
    ("user", "Now two?"),
    ("assistant", "Two."),
    ("user", "3"),
]
ASK, SYSTEM = Message("user", "How is it in Bonn?"), Message("system", "Be brief.")
CALLS = Message("assistant", "", tool_calls=(WITH_ID,))
RESULT = Message("tool", "42", extra={"name": "weather", "tool_call_id": "abcdefghi"})
TRIP_RESULT = Message("tool", "Two hours.", extra={"name": "trip", "tool_call_id": "123456789"})
RAIN, WHY, SO = Message("assistant", "It rains."), Message("user", "Why?"), Message("assistant", "So.")

SHAPES = {
    "single": said(("user", "What is it?"), ("assistant", "It is a cat.")),
    "many turns": said(*LONG, ("assistant", "Three and much more than that.")),
    "system": said(("system", "Be brief."), *LONG[:4]),
    "empty system": said(("system", ""), *LONG[:2]),
    "emoji": said(
        ("user", "🎉👩\u200d💻 日本?"),
        ("assistant", "é 🎉\n日本 🎉"),
        ("user", "e\u0301"),
        ("assistant", "🎉"),
    ),
    "quoting": said(
        ("user", "<|im_end|></s>"), ("assistant", "One it is."), ("user", "assistant"), ("assistant", "q")
    ),
    "assistant first": said(("assistant", "Hello."), ("user", "Who?"), ("assistant", "Me.")),
    "user last": said(("system", "Be brief."), *LONG[:3]),
    "untrained": Conversation(
        (Message("user", "Go."), Message("assistant", "Wrong.", is_trained=False), *said(*LONG[2:4]).messages)
    ),
    "thoughts": talk(WHY, thinking("So.", "Let us see.")),
    "tools": talk(
        ASK,
        Message("assistant", "", tool_calls=(CALL,)),
        RESULT,
        RAIN,
        tools=(TOOL,),
    ),
}
MORE_SHAPES = {
    "late system": said(*LONG[:2], ("system", "Be exact."), *LONG[2:4]),
    "two questions": said(("user", "Well?"), *LONG[:2]),
    "two answers": said(*LONG[:2], ("assistant", "And more.")),
    "quoting nothing else": said(
        ("user", "a"), ("assistant", "It is short."), ("user", "<|im_end|>"), ("assistant", "Yes, that one.")
    ),
    "quoting answer": said(("user", "How?"), ("assistant", "With <|im_end|> or </s>, I think.")),
    "empty answer": said(("user", "Quiet!"), ("assistant", ""), *LONG[:2]),
    "white space": said(("user", " x "), ("assistant", "\n So.  \n"), *LONG[:2]),
    "thinking": talk(SYSTEM, WHY, thinking("So.", "Let us see.", "thinking")),
    "reasoning": talk(WHY, thinking("So.", "Let us see.", "reasoning")),
    "earlier thoughts": talk(WHY, thinking("So.", "Let us see."), ASK, RAIN),
    "thoughts in all": talk(WHY, thinking("So.", "Let us see."), ASK, thinking("Rain.", "I know\n\nit.")),
    "thoughts in words": said(
        ("user", "Why?"), ("assistant", "<think>\nLet us see.\n</think>\n\nSo."), *LONG[:2]
    ),
    "call only": talk(ASK, CALLS, tools=(TOOL,)),
    "call and words": talk(ASK, replace(CALLS, content="I look."), RESULT, RAIN, tools=(TOOL,)),
    "two calls": talk(
        ASK,
        replace(CALLS, tool_calls=(WITH_ID, TRIP)),
        RESULT,
        TRIP_RESULT,
        RAIN,
        tools=(TOOL, TRIP_TOOL),
    ),
    "nested arguments": talk(
        SYSTEM, ASK, replace(CALLS, tool_calls=(TRIP,)), TRIP_RESULT, RAIN, tools=(TRIP_TOOL,)
    ),
    "result in JSON": talk(
        ASK, CALLS, replace(RESULT, content='{"now": 4, "sky": ["grey", "é"]}'), RAIN, tools=(TOOL,)
    ),
    "quoting result": talk(
        ASK,
        CALLS,
        replace(RESULT, content="See <|im_end|> there."),
        RAIN,
        tools=(TOOL,),
    ),
    "name in the question": talk(
        Message("user", "Is the weather in Bonn 42?"), CALLS, RESULT, RAIN, WHY, SO, tools=(TOOL,)
    ),
    "nothing given": talk(
        ASK,
        replace(CALLS, tool_calls=({**WITH_ID, "function": {"name": "weather", "arguments": {}}},)),
        RESULT,
        RAIN,
        tools=(TOOL,),
    ),
    "thoughts and call": talk(
        ASK,
        thinking("", "I should look.", tool_calls=(WITH_ID,)),
        RESULT,
        thinking("It rains.", "There it is."),
        tools=(TOOL,),
    ),
    "tools unused": talk(SYSTEM, WHY, SO, tools=(TRIP_TOOL,)),
}
