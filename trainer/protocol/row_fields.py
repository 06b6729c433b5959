"""The names of a row's parts; `data.fields` gives other names for them."""

from collections.abc import Mapping
from types import MappingProxyType

OF_ROWS = (
    "messages", "conversations", "instruction", "input", "output", "history", "prompt", "completion",
    "context", "text", "system", "tools", "metadata", "skill", "difficulty", "source",
)  # fmt: skip
OF_MESSAGES = ("role", "content", "from", "value", "tool_calls", "train")

Fields = Mapping[str, str]
"""A name above -> the name in the file. What is not in it has its own name."""
NO_FIELDS: Fields = MappingProxyType({})
