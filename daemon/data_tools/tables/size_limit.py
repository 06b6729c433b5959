"""Refuse a table of which far more text becomes than it has bytes. Pure: it only counts."""

from daemon.data_tools.tables.numbered_rows import BadTable

ALWAYS_ALLOWED_RATIO = 4  # the names of the columns stand in each row
MAX_RATIO = 200  # as for archives
ALLOWED_WITHOUT_RATIO = 256 << 20  # a prompt that all rows share takes nearly nothing in a table of columns


class SizeLimit:
    """How much has become of one table.

    Args:
        max_bytes: `data.max_unpacked_bytes`.
        file_bytes: size of the table as it is on the disk.
    """

    def __init__(self, *, max_bytes: int, file_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._file_bytes = file_bytes
        self._num_bytes = 0

    def add(self, num_bytes: int) -> None:
        """Count what has become of a row.

        Raises:
            BadTable: it is too much by now.
        """
        self._num_bytes += num_bytes
        if self._num_bytes <= ALWAYS_ALLOWED_RATIO * self._file_bytes:
            return
        if self._num_bytes > self._max_bytes:
            raise BadTable(
                f"the table becomes more than {self._max_bytes} bytes of JSON Lines "
                "(data.max_unpacked_bytes); split it, or raise the limit"
            )
        if self._num_bytes > ALLOWED_WITHOUT_RATIO + MAX_RATIO * self._file_bytes:
            raise BadTable(
                f"the table becomes more than {MAX_RATIO} times its size, like one made to fill a disk; "
                "if that is intended, write it as JSON Lines yourself"
            )
