"""Conversation: the one noun between all file formats and all profiles."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""What data calls the thoughts before an answer; each is kept in `Message.extra` under its own name."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    """What the assistant calls, as chat templates expect it: `{"type": "function", "function": {…}}`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else a template may show, such as `name` and `tool_call_id` of a tool's answer."""
    is_trained: bool = True
    """Whether a turn of the assistant is supervised; others never are, unless everything is."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one row, in order."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """The functions the assistant may call, each as a JSON schema, for templates that show them."""
    is_plain_text: bool = False
    """Whether the one message is a text of its own, which no chat template is put around."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the row says of itself, such as its skill. For people and reports; never trained."""
