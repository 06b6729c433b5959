"""A prompt and what should follow it: `{"prompt": …, "completion": …}`, also under other common names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainer.data.conversation import Message, Role
from trainer.data.formats.messages import read_messages
from trainer.data.formats.values import read_text

PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("input", "output"))


def read(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return prompt and completion, each a text or a list of messages. Nothing in the prompt is supervised.

    Raises:
        BadRow: they are something else.
    """
    asked, answered = next(pair for pair in PAIRS if all(row.get(key) is not None for key in pair))
    prompt = [
        replace(message, is_trained=False) if message.role == "assistant" else message
        for message in _side(row[asked], asked, "user")
    ]
    return (*prompt, *_side(row[answered], answered, "assistant"))


def _side(value: Any, place: str, role: Role) -> tuple[Message, ...]:
    if isinstance(value, list):
        return read_messages(value, place)
    return (Message(role, read_text(value, place)),)
