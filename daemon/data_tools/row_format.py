"""Which keys of a row matter for training."""

from collections.abc import Collection

from trainer.data.formats import FORMATS
from trainer.protocol.row_fields import OF_ROWS, Fields

OF_FORMATS = {key for format in FORMATS for keys in format.keys for key in keys}


def unknown_keys(keys: Collection[str], fields: Fields) -> set[str]:
    """Return the keys at the top of a row that are no part of any format.

    Args:
        fields: other names, as `data.fields` gives them.
    """
    return set(keys) - OF_FORMATS.union(OF_ROWS, fields.values())
