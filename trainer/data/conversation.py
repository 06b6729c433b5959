"""Conversation: the one noun between all file formats and all profiles."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one row, in order. At least one is the assistant's."""

    messages: tuple[Message, ...]
