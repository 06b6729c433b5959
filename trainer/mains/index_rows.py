"""Index the rows of completed files. A process of its own, of the lowest priority, that loads no torch.

    python -P -m trainer.mains.index_rows <order.json >answer.json

It dies with the worker that ordered it. A file it did not get to is ordered again.
"""

import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from trainer.data.checks.minhash import minhash_rows, readable
from trainer.data.checks.seen_rows import BYTES_PER_ROW, FILE_NAME, SeenRows, UnusableSeenRows
from trainer.data.reading.rows import FileChanged, RowFile
from trainer.mains.one_shot import serve
from trainer.protocol.files import numbered
from trainer.protocol.text import printable
from trainer.session.row_indexing import CompletedFile, Indexed, IndexOrder

LOWEST_PRIORITY = 19
NAMES_TRIED = 100  # chat.jsonl, chat-2.jsonl, …
LOOKS = 2  # a file may be on its way from one folder to the other at the first one


class NoRoomForRows(OSError):
    """The rows would take space that checkpoints may need."""


def carry_out(order: IndexOrder) -> Indexed:
    """Add the rows of all files that are found to those trained before."""
    done: list[str] = []
    try:
        with SeenRows.open(order.models / FILE_NAME) as seen:
            messages = [seen.notice] if seen.notice else []
            try:
                for sha256 in _add_all(order, seen):
                    done.append(sha256)
            except (OSError, sqlite3.Error) as error:
                messages.append(f"the rows of completed files were not indexed: {error}; it is tried again")
    except UnusableSeenRows as error:
        messages = [str(error)]
    return Indexed(done=done, messages=[printable(message) for message in messages])


def _add_all(order: IndexOrder, seen: SeenRows) -> Iterator[str]:
    """Add what is missing; yield the SHA-256 of every file that needs no other try."""
    left = order.files
    for _ in range(LOOKS):
        places, missing = _list(order.folders), []
        for file in left:
            if seen.knows(file.sha256) or _add(file, places, order, seen):
                yield file.sha256
            else:
                missing.append(file)
        left = missing
    yield from (file.sha256 for file in left)  # somebody has removed them


def _list(folders: Iterable[str]) -> dict[str, list[Path]]:
    """Return all files by name."""
    places: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                places[name].append(Path(folder, name))
    return places


def _add(file: CompletedFile, places: dict[str, list[Path]], order: IndexOrder, seen: SeenRows) -> bool:
    """Add one file's rows; False if it is not found."""
    names = (numbered(file.name, number) for number in range(1, NAMES_TRIED + 1))
    for path in _newest_first(path for name in names for path in places.get(name, [])):
        try:
            rows = RowFile.open(path, sha256=file.sha256, max_line_bytes=order.max_line_bytes)
        except (FileChanged, OSError):
            continue  # another file of this name, or it has just been moved
        with closing(rows):
            if next(readable(rows, order.fields), None) is None:
                return True  # it was trained under other names of fields, which may come back
            _refuse_shortage(order.models, min(len(rows), order.max_rows))
            seen.add(
                file.sha256, file.name, minhash_rows(readable(rows, order.fields)), max_rows=order.max_rows
            )
        return True
    return False


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort by the time of the last move: what was completed last is probably looked for."""

    def moved_at(path: Path) -> int:
        try:
            return path.lstat().st_ctime_ns
        except FileNotFoundError:
            return 0

    return sorted(paths, key=moved_at, reverse=True)


def _refuse_shortage(models: Path, num_rows: int) -> None:
    # Until it is committed all of it may stand on the disk twice: new rows change pages everywhere
    size = (models / FILE_NAME).stat().st_size
    needed, free = size + 2 * BYTES_PER_ROW * num_rows, shutil.disk_usage(models).free
    if needed > free / 2:
        raise NoRoomForRows(
            f"{num_rows:,} rows need up to {needed:,} bytes, but {free:,} are free, half of which is left to "
            "checkpoints"
        )


if __name__ == "__main__":
    serve(IndexOrder, lambda order, tell: carry_out(order), niceness=LOWEST_PRIORITY)
