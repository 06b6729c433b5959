"""Which keys of a row matter for training."""

from collections.abc import Collection

from trainer.data.formats import FORMATS
from trainer.data.formats.question_answer import THOUGHTS
from trainer.data.formats.registry import SYSTEM_KEYS, TOOLS_KEYS
from trainer.data.formats.unsupported import QUESTION_ANSWER
from trainer.protocol.row_fields import OF_ROWS, Fields

KNOWN = frozenset(
    {
        *OF_ROWS,
        *SYSTEM_KEYS,
        *TOOLS_KEYS,
        *(key for format in FORMATS for keys in format.keys for key in keys),
    }
)


def unknown_keys(keys: Collection[str], format: str, fields: Fields) -> set[str]:
    """Return the keys at the top of a row that are no part of any format.

    Args:
        format: that of the row; thoughts stand beside an answer, and not beside a list of turns.
        fields: other names, as `data.fields` gives them.
    """
    return set(keys) - KNOWN.union(THOUGHTS if format in QUESTION_ANSWER else (), fields.values())
