"""Which format a row has, told by the keys at its top."""

from collections.abc import Collection

from daemon.data_tools.express import Format
from daemon.data_tools.reading import Row

# The first that fits
TELLING_KEYS: dict[str, str] = {
    "messages": Format.MESSAGES,
    "conversations": Format.SHAREGPT,
    "instruction": Format.ALPACA,
    "completion": Format.PROMPT_COMPLETION,
    "response": Format.PROMPT_COMPLETION,
    "answer": Format.PROMPT_COMPLETION,
    "output": Format.PROMPT_COMPLETION,
    "text": "text",
}
COMMON_KEYS = {"prompt", "question", "input", "system", "history", "tools", "metadata"}
METADATA_KEYS = {"skill", "difficulty", "source"}


def format_of(row: Row) -> str:
    """Return the name of a row's format; "other" where config.json says how its keys are called."""
    return next((format for key, format in TELLING_KEYS.items() if key in row.keys), "other")


def unknown_keys(keys: Collection[str]) -> set[str]:
    """Return the keys at the top of a row that are no part of any format."""
    return set(keys) - TELLING_KEYS.keys() - COMMON_KEYS - METADATA_KEYS
