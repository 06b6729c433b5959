"""Examples that were rendered before, kept on disk for a restart or a second epoch.

One file per content and way of rendering it: a mark, then records that are only ever appended. Whatever is
wrong with a file, from a torn end to a flipped bit, means that a row is rendered again; never an error, never
another token. What is in the cache changes how fast training is, and nothing else.

Record (little endian): line, numbers that follow, their checksum | checksum of all this | per example of the
row: tokens, spans, cut off | token ids | spans of supervised tokens.
"""

import logging
import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from zlib import crc32

import numpy as np

from trainer.data.rendering.example import IGNORED, Example, RowExamples, example_of

FOLDER = "cache"  # in models/
MARK = b"tokens 2\n"
SUFFIX = ".tokens"
FILES_KEPT = 1000  # of short ones a folder could hold millions
HEADER = struct.Struct("<QII")
CHECKSUM = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECKSUM.size
PRIVATE_FILE = 0o600
PART_OF_FREE = 0.5  # takes at most this part of what would be free without it: checkpoints need room, too

logger = logging.getLogger("worker")


class CacheFile:
    """The examples of one file's rows. Safe to be used by several threads.

    Args:
        checksum_seed: of the key, so that no record is taken for one of another file.
    """

    def __init__(self, descriptor: int, size: int, checksum_seed: int) -> None:
        self.users = 1
        """Who have it open."""
        self.size = size
        self._descriptor = descriptor
        self.seed = checksum_seed
        self._offsets = array("Q")  # by line number; 0 where nothing is known
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path, key: str) -> "CacheFile":
        """Open or create a file, and cut off what a crash has left at its end.

        Raises:
            OSError: it cannot be written.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, PRIVATE_FILE)
        try:
            os.utime(descriptor)  # used now: the file that was not used for longest goes first
            opened = cls(descriptor, os.fstat(descriptor).st_size, crc32(key.encode()))
            opened._read_index()
        except BaseException:
            os.close(descriptor)
            raise
        return opened

    def get(self, line: int) -> RowExamples | None:
        """Return the examples of a line, if they are there and whole."""
        with self._lock:
            offset = self._offsets[line] if line < len(self._offsets) else 0
            if not offset:
                return None
            try:
                examples = self._read(offset, line)
            except OSError:
                examples = None
            if examples is None:
                self._offsets[line] = 0
            return examples

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Add the records of some lines.

        Raises:
            OSError: they cannot be written; what was there before still counts.
        """
        with self._lock:
            content = b"".join(record for _, record in records)
            if os.write(self._descriptor, content) != len(content):
                os.ftruncate(self._descriptor, self.size)
                raise OSError("the disk is full")
            for line, record in records:
                self._note(line, self.size)
                self.size += len(record)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            os.close(self._descriptor)

    def _read_index(self) -> None:
        if os.pread(self._descriptor, len(MARK), 0) != MARK:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, MARK)
            self.size = len(MARK)
            return
        offset = len(MARK)
        while header := self._header(offset):
            line, num_numbers, _ = header
            end = offset + HEADER_BYTES + 4 * num_numbers
            if end > self.size:
                break
            self._note(line, offset)
            offset = end
        if offset < self.size:
            os.ftruncate(self._descriptor, offset)
            self.size = offset

    def _note(self, line: int, offset: int) -> None:
        if line >= len(self._offsets):
            self._offsets.frombytes(bytes(8 * (max(line + 1, 2 * len(self._offsets)) - len(self._offsets))))
        self._offsets[line] = offset

    def _header(self, offset: int) -> tuple[int, int, int] | None:
        found = os.pread(self._descriptor, HEADER_BYTES, offset)
        return _unpack_header(found, self.seed)

    def _read(self, offset: int, line: int) -> RowExamples | None:
        header = self._header(offset)
        if header is None or header[0] != line:
            return None
        _, num_numbers, checksum = header
        found = os.pread(self._descriptor, 4 * num_numbers, offset + HEADER_BYTES)
        if crc32(found) != checksum:
            return None
        return tuple(_examples_in(np.frombuffer(found, dtype="<u4").tolist()))


def _examples_in(numbers: list[int]) -> Iterator[Example]:
    place = 0
    while place < len(numbers):
        num_tokens, num_spans, is_truncated = numbers[place : place + 3]
        end_of_tokens = place + 3 + num_tokens
        token_ids = numbers[place + 3 : end_of_tokens]
        place = end_of_tokens + 2 * num_spans
        borders = iter(numbers[end_of_tokens:place])
        yield example_of(token_ids, zip(borders, borders, strict=True), is_truncated=bool(is_truncated))


def _pack(line: int, examples: RowExamples, seed: int) -> bytes:
    numbers = array("I")
    for example in examples:
        borders = _borders(example.labels)
        numbers.extend((len(example.token_ids), len(borders) // 2, example.is_truncated))
        numbers.extend(example.token_ids)
        numbers.extend(borders)
    content = np.array(numbers, dtype="<u4").tobytes()
    header = HEADER.pack(line, len(numbers), crc32(content))
    return header + CHECKSUM.pack(crc32(header, seed)) + content


def _borders(labels: list[int]) -> list[int]:
    """Return where the supervised tokens begin and end, in turns."""
    is_supervised = bytes(map(IGNORED.__ne__, labels))
    borders: list[int] = []
    first = is_supervised.find(1)
    while first >= 0:
        end = is_supervised.find(0, first)
        borders += (first, end if end >= 0 else len(labels))
        first = is_supervised.find(1, borders[-1])
    return borders


def _unpack_header(found: bytes, seed: int) -> tuple[int, int, int] | None:
    if len(found) < HEADER_BYTES:
        return None
    header = found[: HEADER.size]
    if CHECKSUM.unpack(found[HEADER.size :])[0] != crc32(header, seed):
        return None
    line, num_numbers, checksum = HEADER.unpack(header)
    return line, num_numbers, checksum


class TokenCache:
    """The cache files of a folder, which together never take more than their share of the disk.

    Only one process may write there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, CacheFile] = {}
        self._resting: dict[str, int] | None = (
            None  # bytes of the files that nobody has open, oldest use first
        )
        self._lock = Lock()
        self._max_bytes = 0
        self._is_off = False

    def open(self, key: str, *, max_bytes: int) -> "OpenedCache | None":
        """Return the examples under a key; None if none are to be kept, or can be.

        Args:
            key: a file name that differs wherever examples may.
            max_bytes: of all files together; those used longest ago go first.
        """
        with self._lock:
            if self._is_off:
                return None
            try:
                return self._open(key, max_bytes)
            except OSError as error:
                self._turn_off(error)
                return None

    def put(self, file: CacheFile, rows: Iterable[tuple[int, RowExamples]]) -> None:
        """Add the examples of rows to an opened file if there is room for them."""
        records = [(line, _pack(line, examples, file.seed)) for line, examples in rows]
        with self._lock:
            if self._is_off:
                return
            try:
                if self._make_room(sum(len(record) for _, record in records)):
                    file.append(records)
            except OSError as error:
                self._turn_off(error)

    def release(self, key: str) -> None:
        """Take note that one user less has a file open."""
        with self._lock:
            file = self._opened[key]
            file.users -= 1
            if not file.users:
                del self._opened[key]
                self._files()[key] = file.size
                file.close()

    def _open(self, key: str, max_bytes: int) -> "OpenedCache | None":
        files = self._files()
        self._max_bytes = max_bytes
        if not max_bytes:
            self._make_room(0)
            return None
        if key in self._opened:
            self._opened[key].users += 1
        else:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not self._make_room(0, in_use=files.pop(key, 0)):
                self._path(key).unlink(missing_ok=True)
            self._opened[key] = CacheFile.open(self._path(key), key)
        return OpenedCache(self, key, self._opened[key])

    def _make_room(self, num_bytes: int, *, in_use: int = 0) -> bool:
        """Drop files until so many bytes more may be written; return whether they may.

        Args:
            in_use: bytes that are neither in a resting file nor in an opened one, and stay.
        """
        files = self._files()
        used = in_use + sum(files.values()) + sum(file.size for file in self._opened.values())
        # Asked each time, because others write, too; once per step, so next to nothing
        disk = os.statvfs(self._folder.parent)
        limit = min(self._max_bytes, PART_OF_FREE * (used + disk.f_bavail * disk.f_frsize))
        while files and (used + num_bytes > limit or len(files) > FILES_KEPT):
            key = next(iter(files))
            self._path(key).unlink(missing_ok=True)
            used -= files.pop(key)
        return used + num_bytes <= limit

    def _files(self) -> dict[str, int]:
        if self._resting is None:
            found = [path for path in self._folder.glob(f"*{SUFFIX}") if path.is_file()]
            facts = sorted((path.stat().st_mtime_ns, path.stem, path.stat().st_size) for path in found)
            self._resting = {key: size for _, key, size in facts}
        return self._resting

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _turn_off(self, error: OSError) -> None:
        self._is_off = True
        logger.warning("tokens are not kept in %s until the next start: %s", self._folder, error)


class OpenedCache:
    """One user's view of a cache file."""

    def __init__(self, cache: TokenCache, key: str, file: CacheFile) -> None:
        self._cache = cache
        self._key = key
        self._file = file

    def get(self, line: int) -> RowExamples | None:
        """Return the examples of a line, if they are there and whole."""
        return self._file.get(line)

    def put(self, rows: Iterable[tuple[int, RowExamples]]) -> None:
        """Keep the examples of some lines, if there is room."""
        self._cache.put(self._file, rows)

    def close(self) -> None:
        """Let the file go."""
        self._cache.release(self._key)
