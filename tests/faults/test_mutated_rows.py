"""Damaged files by the thousand: every line is counted, and what is accepted can be trained."""

import json
import random

from tests.support import rows
from trainer.data.checks.file_check import check_file
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import RowFile

SEED = 20260101
FILES = 1000
MUTATIONS = 10  # in each file
MAX_LINE_BYTES = 2048
INTERESTING = [
    b"\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\ud800", b'"', b"{", b"}",
    b"[" * 3000, b"]", b"NaN", b"1e999", b"9" * 5000, b"\\", b",", b":", b'"messages":', b"null",
    b"\x1b[31m", b"\xf0\x9f\x98\x80",
]  # fmt: skip


def mutated(content, chance):
    """Return `content` with one place changed: bytes flipped, lost, doubled, moved, or something put in."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice([1, 1, 2, 5, 50]))
    piece = content[start:end]
    match chance.randrange(5):
        case 0:
            middle = bytes(byte ^ 1 << chance.randrange(8) for byte in piece)
        case 1:
            middle = b""
        case 2:
            middle = piece * chance.choice([2, 3, 100])
        case 3:
            middle = bytes(reversed(piece))
        case _:
            middle = chance.choice(INTERESTING) + piece
    return content[:start] + middle + content[end:]


def test_a_damaged_file_is_checked_to_its_end_and_what_it_has_left_can_be_trained(tmp_path):
    chance, path = random.Random(SEED), tmp_path / "rows.jsonl"
    original = b"".join(json.dumps(row).encode() + b"\n" for row in rows(8))

    for number in range(FILES):
        content = original
        for _ in range(MUTATIONS):
            content = mutated(content, chance)
        path.write_bytes(content)
        assert_counts_add_up(path, content, f"file {number} of seed {SEED}: {content!r}")


def assert_counts_add_up(path, content, what):
    check = check_file(path, max_line_bytes=MAX_LINE_BYTES)
    lines = [line for line in content.split(b"\n") if line.removeprefix(b"\xef\xbb\xbf").strip()]
    assert check.rows + len(check.rejected_lines) == len(lines), what
    file = RowFile.open(
        path, sha256=check.sha256, rejected_lines=check.rejected_lines, max_line_bytes=MAX_LINE_BYTES
    )
    try:
        assert len(file) == check.rows, what
        for position in range(len(file)):
            assert read_conversation(file.read(position)), what
    finally:
        file.close()
