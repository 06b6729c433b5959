"""The check of a file before it is accepted."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import row, rows, write_jsonl
from trainer.data.checks.file_check import (
    CHECK_EVERY_LINES,
    CheckCancelled,
    FileCheck,
    RejectedRow,
    check_file,
)
from trainer.data.reading.rows import RowFile

CAP = 1024
LINES = [
    b"",
    b" \r",
    b"\xef\xbb\xbf",
    b"{}",
    b"3",
    b"\xff",
    b'{"a": NaN}',
    json.dumps(row()).encode(),
    json.dumps(row("\u2028", "🎉"), ensure_ascii=False).encode(),
    b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}',
    b"x" * (CAP + 1),
]


def check(path: Path) -> FileCheck:
    return check_file(path, max_line_bytes=CAP)


def found(num_rows: int, num_bad: int) -> FileCheck:
    bad = tuple(range(1, num_bad + 1))
    first = "line 1: broken" if bad else None
    return FileCheck(sha256="", size_bytes=1, rows=num_rows, rejected_lines=bad, first_rejection=first)


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 60 MB; one row in 256 is malformed."""
    path = tmp_path_factory.mktemp("big") / "big.jsonl"
    line = json.dumps(row("x" * 8000, "y" * 8000)).encode() + b"\n"
    with path.open("wb") as file:
        for _ in range(15):
            file.write(line * 255 + b"broken\n")
    return path


def test_a_good_file_is_counted_and_hashed(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))

    assert check(path) == FileCheck(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        rows=3,
        rejected_lines=(),
        first_rejection=None,
        format="messages",
    )


def test_bad_rows_are_told_with_their_lines_and_blank_lines_are_nothing(tmp_path):
    too_long = "x" * (CAP + 1)
    path = write_jsonl(tmp_path / "a.jsonl", ["", row(), "broken", "", too_long, row(), {"prompt": 1}])
    rejected: list[RejectedRow] = []

    checked = check_file(path, max_line_bytes=CAP, on_reject=rejected.append)

    assert (checked.rows, checked.rejected_lines) == (2, (3, 5, 7))
    assert checked.first_rejection == "line 3: column 1: no JSON value begins here; expected one JSON object"
    assert checked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [(item.line, item.content) for item in rejected] == [
        (3, b"broken\n"),
        (5, None),
        (7, b'{"prompt": 1}\n'),
    ]
    assert rejected[1].reason == "the line has more than 1024 bytes (data.max_line_bytes)"


@pytest.mark.parametrize("length, is_kept", [(CAP, True), (CAP + 1, False)])
def test_a_row_may_fill_the_cap_to_the_last_byte(tmp_path, length, is_kept):
    shortest = len(json.dumps(row(answer="")))
    path = write_jsonl(tmp_path / "a.jsonl", [row(answer="x" * (length - shortest))])

    assert check(path).rows == int(is_kept)


@pytest.mark.parametrize(
    "num_rows, num_bad, limit, is_refused",
    [
        (99, 1, 0.01, False),
        (98, 2, 0.01, True),
        (98, 1, 0.01, True),
        (71, 29, 0.29, False),
        (70, 30, 0.29, True),
        (100, 0, 0.0, False),
        (10**9, 1, 0.0, True),
        (1, 99, 1.0, False),
    ],
)
def test_a_file_is_refused_only_beyond_the_allowed_share(num_rows, num_bad, limit, is_refused):
    assert (found(num_rows, num_bad).verdict(limit) is not None) == is_refused


@pytest.mark.parametrize(
    "num_rows, num_bad, how_many",
    [(1, 2, "2 of 3 rows are"), (1, 1, "1 of 2 rows is"), (0, 2, "2 of 2 rows are")],
)
def test_the_verdict_names_numbers_setting_and_first_bad_line(num_rows, num_bad, how_many):
    assert found(num_rows, num_bad).verdict(0.4) == (
        f"{how_many} malformed, more than data.max_bad_row_fraction allows (0.4); the first: line 1: broken"
    )


def test_the_verdict_on_an_only_row_counts_nothing():
    assert found(0, 1).verdict(0.4) == "the only row is malformed: line 1: broken"


@pytest.mark.parametrize("num_bad", [0, 3])
def test_a_file_without_rows_is_refused_however_many_bad_ones_are_allowed(num_bad):
    assert "no rows" in (found(0, num_bad).verdict(1.0) or "")


def test_a_check_can_be_cancelled_in_the_middle(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(CHECK_EVERY_LINES + 1))
    message = f"the check of a.jsonl was cancelled at line {CHECK_EVERY_LINES}"

    with pytest.raises(CheckCancelled, match=message):
        check_file(path, max_line_bytes=CAP, is_cancelled=lambda: True)


@pytest.mark.parametrize("kind", ["missing", "folder", "symlink"])
def test_what_is_no_file_cannot_be_checked(tmp_path, kind):
    path = tmp_path / "a.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(write_jsonl(tmp_path / "b.jsonl", rows(1)))

    with pytest.raises(OSError, match=r"a\.jsonl"):
        check(path)


@given(content=st.lists(st.sampled_from(LINES) | st.binary(max_size=30)).map(b"\n".join))
def test_whatever_a_file_holds_every_line_with_something_is_a_row_or_rejected(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.jsonl"
    path.write_bytes(content)
    lines = [line.removeprefix(b"\xef\xbb\xbf").strip() for line in content.split(b"\n")]

    checked = check(path)

    assert checked.rows + len(checked.rejected_lines) == sum(1 for line in lines if line)
    assert checked.size_bytes == len(content)
    row_file = RowFile.open(
        path, sha256=checked.sha256, rejected_lines=checked.rejected_lines, max_line_bytes=CAP
    )
    assert [row_file.read(i)["messages"] for i in range(len(row_file))] == [
        json.loads(line)["messages"]
        for number, line in enumerate(lines, 1)
        if line and number not in checked.rejected_lines
    ]
    row_file.close()


def test_memory_stays_flat_however_large_the_file(big_file):
    tracemalloc.start()

    checked = check_file(big_file, max_line_bytes=1 << 20)
    row_file = RowFile.open(
        big_file, sha256=checked.sha256, rejected_lines=checked.rejected_lines, max_line_bytes=1 << 20
    )

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert checked.size_bytes > 60_000_000
    assert len(row_file) == checked.rows == 15 * 255
    assert peak_bytes < 1_000_000
    row_file.close()
