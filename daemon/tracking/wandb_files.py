"""Read the files in which W&B keeps a run: records in blocks of 32 KiB, as LevelDB's logs have them."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = b":W&B"
HEADER_BYTES = 7
BLOCK_BYTES = 1 << 15
RECORD = struct.Struct("<IHB")  # checksum, length, which part of a record it is
WHOLE, LAST = 1, 4


class RunFile:
    """One such file, which may still grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._parts = b""

    def new_rows(self) -> Iterator[dict[str, str]]:
        """Yield what was logged since the last call, as JSON by name; what is cut off is left out."""
        from wandb.proto import wandb_internal_pb2 as messages

        for content in self._new_records():
            record: Any = vars(messages)["Record"]()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                yield {"_step": str(record.history.step.num), **row}

    def _new_records(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            if not self._position and file.read(HEADER_BYTES).startswith(HEADER):
                self._position = HEADER_BYTES
            while self._position:
                left = BLOCK_BYTES - self._position % BLOCK_BYTES
                if left < RECORD.size:
                    self._position += left
                    continue
                file.seek(self._position)
                head = file.read(RECORD.size)
                if len(head) < RECORD.size:
                    return
                _, length, part = RECORD.unpack(head)
                content = file.read(length)
                if part == 0 or len(content) < length:
                    return
                self._position += RECORD.size + length
                self._parts += content
                if part in (WHOLE, LAST):
                    whole, self._parts = self._parts, b""
                    yield whole
