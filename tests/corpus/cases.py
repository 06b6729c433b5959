"""Files that people have dropped by mistake or malice, with what is to be said of them."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from tests.support import row, rows

MAX_LINE_BYTES = 400_000  # the default scaled down
GOOD = json.dumps(row()).encode()
MIDDLE = 2  # the number of the bad line in a file made by `between`


@dataclass(frozen=True)
class BadLine:
    """A line between two good ones."""

    content: bytes
    reason: str
    """A part of it."""


@dataclass(frozen=True)
class BadFile:
    """A file of which nothing is trained."""

    made: bytes | Callable[[], bytes]
    """Its content, or what makes it."""
    reason: str
    """A part of it."""

    @property
    def content(self) -> bytes:
        return self.made() if callable(self.made) else self.made


def message(text: str, role: str = "assistant") -> bytes:
    """Return a row of one message with this JSON as its content."""
    return b'{"messages": [{"role": "%s", "content": %s}]}' % (role.encode(), text.encode())


def between(line: bytes) -> bytes:
    """Return a file with this line between two good ones."""
    return GOOD + b"\n" + line + b"\n" + GOOD + b"\n"


BAD_LINES = {
    "NUL inside a text": BadLine(
        message('"a\0b"'), "a string has a line break, a tab or another control character"
    ),
    "only NUL": BadLine(b"\0\0\0\0", "column 1: no JSON value begins here"),
    "lone surrogate": BadLine(message(r'"\ud83d"'), "messages[0].content holds half of a surrogate pair"),
    "surrogate in UTF-8": BadLine(message('"') + b"\xed\xa0\x80", "is 0xed; expected UTF-8"),
    "Latin-1": BadLine(message('"caf') + b'\xe9"', "is 0xe9; expected UTF-8"),
    "UTF-16 line": BadLine(GOOD.decode().encode("utf-16"), "byte 1 is 0xff; expected UTF-8"),
    "NaN": BadLine(b'{"score": NaN, ' + GOOD[1:], "the number NaN is not JSON"),
    "key twice": BadLine(b'{"messages": [], ' + GOOD[1:], 'key "messages" appears twice'),
    "very long integer": BadLine(b'{"id": ' + b"7" * 5000 + b", " + GOOD[1:], "5000 digits"),
    "deep nesting": BadLine(b'{"messages": ' + b"[" * 100_000, "nested more than 64 levels deep"),
    "line too long": BadLine(message(json.dumps("x" * MAX_LINE_BYTES)), "more than 400000 bytes"),
    "number as content": BadLine(message("42"), "messages[0].content is 42; expected text"),
    "object as content": BadLine(message('{"a": 1}'), "messages[0].content is an object; expected text"),
    "no answer": BadLine(message('"q"', role="user"), "no message of the assistant has content"),
    "empty answer": BadLine(message('""'), "no message of the assistant has content"),
    "answer not to be learned": BadLine(
        b'{"messages": [{"role": "assistant", "content": "a", "train": false}]}', "has train: false"
    ),
    "double-wrapped": BadLine(
        message(json.dumps(json.dumps(row()["messages"]))), "an answer is itself a list of messages"
    ),
    "unknown format": BadLine(
        b'{"chosen": "a", "rejected": "b"}', 'found "chosen" with "rejected": preference pairs'
    ),
    "no JSON": BadLine(b"Hello!", "column 1: no JSON value begins here"),
    "torn": BadLine(GOOD[:-20], "column 81"),
    "two rows on a line": BadLine(GOOD + GOOD, "the JSON value has ended, but more follows"),
}

GOOD_LINES = {
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "CRLF": GOOD + b"\r",
    "U+2028 inside a text": message('"a\u2028b"'),
    "answer first": message('"Hello!"'),
    "two questions in a row": json.dumps(
        {"messages": [{"role": "user", "content": "a"}, *row()["messages"]]}
    ).encode(),
}


def _repeated(num_bytes: int) -> bytes:
    line = message(json.dumps("x" * 1000)) + b"\n"
    return line * (num_bytes // len(line))


_ORDINARY = b"".join(json.dumps(item).encode() + b"\n" for item in rows(1000))
_GZIPPED = gzip.compress(_ORDINARY)
_PACKED = zstandard.compress(_ORDINARY)
_TEXT = GOOD.decode() + "\n"

BAD_FILES = {
    "empty": BadFile(b"", "it is empty"),
    "blank": BadFile(b"\n \r\n", "no rows"),
    "only a byte order mark": BadFile(b"\xef\xbb\xbf", "no rows"),
    "UTF-16": BadFile(
        _TEXT.encode("utf-16"),
        "line 1: the file is UTF-16; expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8",
    ),
    "UTF-16 table": BadFile("prompt\tcompletion\na\tb\n".encode("utf-16"), "line 1: the file is UTF-16;"),
    "UTF-16 array without mark": BadFile("[{}]".encode("utf-16-le"), "line 1: the file is UTF-16-LE"),
    "UTF-16 big-endian": BadFile(
        b"\xfe\xff" + _TEXT.encode("utf-16-be"), "line 1: the file is UTF-16; expected UTF-8"
    ),
    "UTF-16 little-endian without mark": BadFile(_TEXT.encode("utf-16-le"), "line 1: the file is UTF-16-LE"),
    "UTF-16 big-endian without mark": BadFile(_TEXT.encode("utf-16-be"), "line 1: the file is UTF-16-BE"),
    "UTF-32": BadFile(_TEXT.encode("utf-32"), "line 1: the file is UTF-32"),
    "mixed formats": BadFile(
        between(b'{"prompt": "p", "completion": "c"}'),
        "line 1 has the format messages, but line 2 has prompt_completion",
    ),
    "gzip cut off": BadFile(_GZIPPED[:-100], "the archive ends too early"),
    "gzip without its checksum": BadFile(_GZIPPED[:-8], "after line 1000: the archive ends too early"),
    "gzip with another checksum": BadFile(
        _GZIPPED[:-8] + bytes(8), "after line 1000: the archive is damaged: CRC check failed"
    ),
    "gzip damaged": BadFile(b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 100, "the archive is damaged"),
    "gzip and then something else": BadFile(_GZIPPED + b"x" * 20, "the archive is damaged"),
    "gzip bomb": BadFile(
        lambda: gzip.compress(_repeated(48 << 20)), "unpacks to more than 200 times its size"
    ),
    "Zstandard cut off": BadFile(_PACKED[:-100], "the archive ends too early"),
    "Zstandard damaged": BadFile(_PACKED[:20] + b"\xff" * 50 + _PACKED[70:], "the archive is damaged"),
    "Zstandard bomb": BadFile(
        lambda: zstandard.compress(_repeated(48 << 20)), "unpacks to more than 200 times its size"
    ),
}
