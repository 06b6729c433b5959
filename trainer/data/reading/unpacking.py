"""Read a file as a stream of its text, unpacked if it is packed. Flat in memory, whatever the file holds.

What a file is packed with is told by its first bytes, not by its name: files lie under other names, too.
"""

import gzip
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

    class _Readable(Protocol):
        def readinto1(self, buffer: memoryview, /) -> int:
            """Give what there is, so that the lines before an error are separated from those after it."""


GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f: a frame of notes, which may stand in front
MAGIC_BYTES = 4
BUFFER_BYTES = 1 << 17
ZSTD_INPUT_BYTES = 1024  # at a time: what comes of it at once is then 32 MiB at most
ZSTD_MAX_WINDOW_BYTES = 1 << 27  # what the command zstd takes without being asked
MAX_RATIO = 200  # text packs 3 to 30 times
UNPACKED_WITHOUT_RATIO = 16 << 20  # few bytes that repeat themselves may well pack better
LINES_WITHOUT_ROWS = 1_000_000  # a second's work
SHORTEST_ROW = 2  # signs: `{}`
BLANKS = b" \t\r\n"
PRIVATE_FOLDER_MODE = 0o700


class BadArchive(ValueError):
    """A packed file that cannot or must not be unpacked; the message says why."""


def is_packed(file: BinaryIO) -> bool:
    """Whether a file that can be sought through is packed."""
    return _is_gzip(start := os.pread(file.fileno(), MAGIC_BYTES, 0)) or _is_zstd(start)


def text_of(
    file: BinaryIO,
    *,
    seen: Callable[[memoryview], object],
    max_unpacked_bytes: int | None = None,
) -> io.BufferedReader:
    """Return what a file holds, from its beginning, as a stream of its own that need not be closed.

    Args:
        file: unbuffered, and left open.
        seen: called with all bytes of the file as it is, such as a digest's `update`; with none of them left
            out once the stream has ended.
        max_unpacked_bytes: more than this is refused, and so is what unpacks to suspiciously much; None sets
            no limit, for a file that was checked.
    Raises:
        BadArchive: when reading: it is cut off or damaged, or would become too large.
    """
    raw = _Raw(file, seen)
    packed: io.BufferedReader = io.BufferedReader(raw, BUFFER_BYTES)
    start = packed.peek(MAGIC_BYTES)[:MAGIC_BYTES]
    unpacked: _Readable
    if _is_gzip(start):
        unpacked = gzip.GzipFile(fileobj=packed, mode="rb")
    elif _is_zstd(start):
        unpacked = _Zstd(packed)
    else:
        return packed
    return io.BufferedReader(_Unpacked(unpacked, raw, max_unpacked_bytes), BUFFER_BYTES)


def unpack(file: BinaryIO, folder: Path | None) -> BinaryIO:
    """Return a checked file's text as a file without a name, which vanishes when it is closed.

    Args:
        folder: where there is room for it, created if it is missing; None takes the system's.
    Raises:
        BadArchive: it is damaged by now.
        OSError: there is no room.
    """
    if folder:
        folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    copy = cast(BinaryIO, TemporaryFile(dir=folder))  # noqa: SIM115 - the caller closes it
    try:
        file.seek(0)
        text = text_of(file, seen=len)
        while chunk := text.read(BUFFER_BYTES):
            copy.write(chunk)
        copy.flush()
    except BaseException:
        copy.close()
        raise
    return copy


def _is_gzip(start: bytes) -> bool:
    return start.startswith(GZIP)


def _is_zstd(start: bytes) -> bool:
    return start == ZSTD or (start[1:] == SKIPPABLE and start[0] >> 4 == 5)


class _Raw(io.RawIOBase):
    """A file whose bytes are counted and shown to somebody as they pass. Closing it leaves the file open."""

    def __init__(self, file: BinaryIO, seen: Callable[[memoryview], object]) -> None:
        self._file = cast(io.FileIO, file)
        self._seen = seen
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self.num_bytes += count
        self._seen(memoryview(buffer)[:count])
        return count


class _Unpacked(io.RawIOBase):
    """What comes out of a packed file, as long as it is not too much."""

    def __init__(self, unpacked: "_Readable", raw: _Raw, max_bytes: int | None) -> None:
        self._unpacked = unpacked
        self._raw = raw
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._num_lines = 0
        self._num_signs = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            count = self._unpacked.readinto1(buffer)
        except EOFError as error:
            raise BadArchive("the archive ends too early; copy it again completely") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadArchive(f"the archive is damaged: {error}; pack it again") from error
        self._num_bytes += count
        if self._max_bytes is not None:
            self._refuse_too_much(self._max_bytes)
            self._refuse_blank(bytes(buffer[:count]))
        return count

    def _refuse_blank(self, chunk: bytes) -> None:
        """Refuse what is made of blank lines: millions fit into a few bytes, and each one takes time."""
        self._num_lines += chunk.count(b"\n")
        self._num_signs += len(chunk.translate(None, BLANKS))
        if self._num_lines > LINES_WITHOUT_ROWS and self._num_signs < SHORTEST_ROW * self._num_lines:
            raise BadArchive(
                f"the archive unpacks to {self._num_lines} lines, nearly all of them blank, like one made to "
                "keep a reader busy; leave them out, and pack it again"
            )

    def _refuse_too_much(self, max_bytes: int) -> None:
        if self._num_bytes > max_bytes:
            raise BadArchive(
                f"the archive unpacks to more than {max_bytes} bytes (data.max_unpacked_bytes); split it, or "
                "raise the limit"
            )
        if self._num_bytes > UNPACKED_WITHOUT_RATIO + MAX_RATIO * self._raw.num_bytes:
            raise BadArchive(
                f"the archive unpacks to more than {MAX_RATIO} times its size, like one made to fill a disk; "
                "if that is intended, unpack it yourself"
            )


class _Zstd:
    """Unpacks Zstandard, frame after frame.

    Not by the library's own stream: that takes an archive which was cut off for one that has ended.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        import zstandard  # only here: the daemon stays smaller without it

        self._packed = packed
        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_MAX_WINDOW_BYTES)
        self._frame: ZstdDecompressionObj | None = None
        self._ready = memoryview(b"")

    def readinto1(self, buffer: memoryview, /) -> int:
        while not self._ready:
            if not (chunk := self._next_input()):
                return 0
            self._ready = memoryview(self._decompress(chunk))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next_input(self) -> bytes:
        rest = self._frame.unused_data if self._frame and self._frame.eof else b""
        if self._frame and self._frame.eof:
            self._frame = None
        chunk = rest or self._packed.read(ZSTD_INPUT_BYTES)
        if not chunk and self._frame:
            raise EOFError
        return chunk

    def _decompress(self, chunk: bytes) -> bytes:
        self._frame = self._frame or self._decompressor.decompressobj()
        try:
            return self._frame.decompress(chunk)
        except self._error as error:
            raise BadArchive(
                f"the archive is damaged, or needs too much memory: {error}; pack it again"
            ) from error
