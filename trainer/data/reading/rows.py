"""Stream a JSONL file: lines with their offsets, and one row at a time.

Flat in memory, whatever the file's size. Lines end at `\\n` and nowhere else: Unicode knows more line ends,
and JSON strings may hold them.
"""

import errno
import hashlib
import json
import math
import os
import stat
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Self, cast

from trainer.data.reading.unpacking import BadArchive, is_packed, text_of, unpack
from trainer.protocol.json_faults import fault_of
from trainer.protocol.text import printable

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
READ_BYTES = 1 << 20
MAX_NESTING = 64  # levels of lists and objects; chat templates give up at about 150


TOO_DEEP = f"nested more than {MAX_NESTING} levels deep; expected fewer"


class BadRow(ValueError):
    """A line that cannot be trained; the message says why."""


class FileChanged(ValueError):
    """The file is not the one that was checked."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it stands in the file."""

    number: int
    """Counted from 1, as editors do."""
    offset: int
    """Of its first byte."""
    content: bytes | None
    """Line end included; None when it is longer than the limit, or cannot be a row for another reason."""
    fault: str = ""
    """That reason."""

    @property
    def is_blank(self) -> bool:
        return self.content is not None and not self.content.removeprefix(BYTE_ORDER_MARK).strip()


def read_lines(file: BinaryIO, *, max_line_bytes: int) -> Iterator[Line]:
    """Yield the lines of `file`, blank ones included.

    Args:
        max_line_bytes: a longer line is passed over and yielded without its content.
    """
    number = offset = 0
    while chunk := file.readline(max_line_bytes + 1):
        number += 1
        start = offset
        offset += len(chunk)
        content: bytes | None = chunk
        while len(chunk) > max_line_bytes and not chunk.endswith(b"\n"):
            content = None
            chunk = file.readline(max_line_bytes + 1)
            offset += len(chunk)
        yield Line(number, start, content)


def content_of(line: Line, *, max_line_bytes: int) -> bytes:
    """Return the bytes of a line.

    Raises:
        BadRow: it is too long to be kept, or cannot be a row for another reason.
    """
    if line.fault:
        raise BadRow(line.fault)
    if line.content is None:
        raise BadRow(f"the line has more than {max_line_bytes} bytes (data.max_line_bytes)")
    return line.content


def lines_of(path: Path, *, max_line_bytes: int, max_unpacked_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file, packed or not.

    Raises:
        BadArchive: it cannot be unpacked.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        text = text_of(file, seen=len, max_unpacked_bytes=max_unpacked_bytes)
        yield from read_lines(text, max_line_bytes=max_line_bytes)


def parse_row(content: bytes) -> Any:
    """Return the JSON value on one line.

    Stricter than `json.loads`: NaN and a key given twice are refused, because nobody can mean them.

    Raises:
        BadRow: it is not one JSON value in UTF-8.
    """
    try:
        # Without its line end, so that an error at the end of the row has the row's column
        text = content.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start + len(content) - len(content.removeprefix(BYTE_ORDER_MARK))
        raise BadRow(
            f"byte {place + 1} is {content[place]:#04x}; expected UTF-8; if the whole file is in "
            "another encoding, convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW.jsonl"
        ) from error
    try:
        value = DECODER.decode(text)
    except RecursionError as error:
        raise BadRow(TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise BadRow(f"column {error.colno}: {fault_of(error)}; {_expected(text)}") from error
    except BadRow:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise BadRow(f"{error}; expected one JSON object") from error
    if text.count("{") + text.count("[") > MAX_NESTING and _is_too_deep(value):
        raise BadRow(TOO_DEEP)
    return value


def _is_too_deep(value: Any) -> bool:
    """Whether a value has more levels than are allowed. Without recursion, which has a limit of its own."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MAX_NESTING):
        items = (item for found in level for item in (found.values() if isinstance(found, dict) else found))
        level = [item for item in items if isinstance(item, list | dict)]
        if not level:
            return False
    return True


def _expected(text: str) -> str:
    """Say what should have been there, and how a JSON document of several lines becomes one row a line."""
    found = text.strip()
    if found in ("[", "{") or found.startswith("[{"):
        return (
            "expected one JSON object per line, but this looks like the start of a document over several "
            "lines; write one row per line, such as with: jq -c '.[]' FILE (or jq -c . FILE for objects)"
        )
    return "expected one JSON object"


def _refuse_constant(name: str) -> NoReturn:
    raise BadRow(f"the number {name} is not JSON; expected a finite number or null")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadRow(
            f'key "{printable(twice, limit=40)}" appears twice in one object; expected each key once'
        )
    return row


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadRow(f"the number {printable(digits, limit=40)} is too large; expected one that fits a float")
    return value


# Made once: `json.loads` with these arguments would make one for every row
DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys
)


@dataclass(frozen=True)
class RowIndex:
    """Where the trainable rows of a checked file stand in its text. Memory: 16 to 24 bytes a row."""

    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    numbers: "array[int]" = field(default_factory=lambda: array("Q"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each row's line, to be compared with each other only; empty where nobody asked for them."""

    def __len__(self) -> int:
        return len(self.offsets)

    def line_number(self, position: int) -> int:
        """Return where row `position` stands in the file, counted from 1."""
        return self.numbers[position]


def index_rows(
    file: BinaryIO,
    name: str,
    *,
    sha256: str,
    rejected_lines: Collection[int] = (),
    max_line_bytes: int,
    must_hash: bool = False,
) -> RowIndex:
    """Index a file, packed or not, in one pass.

    Args:
        file: unbuffered.
        sha256: of the content that was checked.
        rejected_lines: numbers of lines to leave out; blank lines are left out anyway.
        must_hash: hash each row's line, too.
    Raises:
        FileChanged: the content is another one by now.
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    rejected = frozenset(rejected_lines)
    index = RowIndex()
    try:
        for line in read_lines(text_of(file, seen=digest.update), max_line_bytes=max_line_bytes):
            if not line.is_blank and line.number not in rejected:
                index.offsets.append(line.offset)
                index.numbers.append(line.number)
                if must_hash:
                    index.hashes.append(_hash(line))
    except BadArchive as error:
        raise FileChanged(f"{name}: {error}; it was intact when it was checked") from error
    if digest.hexdigest() != sha256:
        raise FileChanged(
            f"{name} has SHA-256 {digest.hexdigest()[:12]}…, but {sha256[:12]}… was checked; "
            "it was changed after it was accepted, so drop it into inbox/ again"
        )
    return index


class RowFile:
    """The trainable rows of one checked file, by position. Holds the file open, so it may be moved meanwhile.

    Args:
        file: their text, unpacked.
        sha256: of that text, if it can be touched or written to by others.
    """

    def __init__(self, file: BinaryIO, index: RowIndex, sha256: str | None = None) -> None:
        self._file = file
        self._index = index
        self._sha256 = sha256
        self._stamp = _stamp(file)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        sha256: str,
        rejected_lines: Collection[int] = (),
        max_line_bytes: int,
        must_hash: bool = False,
        scratch: Path | None = None,
    ) -> Self:
        """Index a file, and unpack it if it is packed.

        Args:
            sha256, rejected_lines, must_hash: as for `index_rows`.
            scratch: folder on a disk with room for what is unpacked; None takes the system's.
        Raises:
            FileChanged: the content is another one by now.
            OSError: it cannot be read, or there is no room to unpack it.
        """
        file = open_regular(path)
        try:
            index = index_rows(
                file,
                path.name,
                sha256=sha256,
                rejected_lines=rejected_lines,
                max_line_bytes=max_line_bytes,
                must_hash=must_hash,
            )
            if not is_packed(file):
                return cls(open(os.dup(file.fileno()), "rb"), index, sha256)
            return cls(unpack(file, scratch), index)
        except BadArchive as error:
            raise FileChanged(f"{path.name}: {error}; it was intact when it was checked") from error
        finally:
            file.close()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def hashes(self) -> "array[int]":
        """As in `RowIndex`."""
        return self._index.hashes

    def line_number(self, position: int) -> int:
        """Return where row `position` stands in the file, counted from 1."""
        return self._index.line_number(position)

    def read(self, position: int) -> Any:
        """Return the JSON value of row `position`, counted from 0.

        Raises:
            BadRow: the line is not what was checked, or somebody has written to the file since.
        """
        if (stamp := _stamp(self._file)) != self._stamp:
            self._compare_again()
            self._stamp = stamp
        self._file.seek(self._index.offsets[position])
        return parse_row(self._file.readline())

    def _compare_again(self) -> None:
        """Hash the file: a new time of change alone does not make it another one."""
        digest, offset = hashlib.sha256(), 0
        while chunk := os.pread(self._file.fileno(), READ_BYTES, offset):  # not what is buffered
            digest.update(chunk)
            offset += len(chunk)
        if digest.hexdigest() != self._sha256:
            raise BadRow(
                "the file was changed while it was being trained; expected what it was when it was checked"
            )

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _hash(line: Line) -> int:
    # Python's own: 64 bits, fast, and other ones in each process, which is no matter here
    return hash(line.number if line.content is None else line.content.rstrip(b"\r\n"))


def _stamp(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, unbuffered. Links are not followed, and nothing is waited for.

    Raises:
        OSError: it cannot be opened, or is something else, such as a device that never ends.
    """
    file = open(path, "rb", buffering=0, opener=_open_without_following)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device; expected a regular file", str(path))
    return cast(BinaryIO, file)


def _open_without_following(path: str, flags: int) -> int:
    try:
        # Non-blocking: opening a named pipe would wait for its writer
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link; expected a regular file", path) from error
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a socket or a device; expected a regular file", path) from error
        raise
