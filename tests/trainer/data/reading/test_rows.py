"""Lines of a JSONL file, their JSON values, and rows by position."""

import io
import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import job_for, row, rows, write_jsonl
from trainer.data.reading.rows import BadRow, FileChanged, RowFile, parse_row, read_lines
from trainer.protocol.files import file_sha256
from trainer.protocol.json_faults import FAULTS

CAP = 1024


def lines_of(content: bytes, cap: int = CAP) -> list[tuple[int, int, bytes | None]]:
    lines = read_lines(io.BytesIO(content), max_line_bytes=cap)
    return [(line.number, line.offset, line.content) for line in lines]


def open_rows(path: Path, *, rejected: tuple[int, ...] = (), cap: int = CAP) -> RowFile:
    return RowFile.open(path, sha256=file_sha256(path), rejected_lines=rejected, max_line_bytes=cap)


def values(row_file: RowFile) -> list[Any]:
    try:
        return [row_file.read(position) for position in range(len(row_file))]
    finally:
        row_file.close()


# ---- lines


@pytest.mark.parametrize(
    "content, lines",
    [
        (b"", []),
        (b"\n", [b"\n"]),
        (b"a", [b"a"]),
        (b"a\n", [b"a\n"]),
        (b"a\nb", [b"a\n", b"b"]),
        (b"\n\na\n", [b"\n", b"\n", b"a\n"]),
        (b"a\r\nb\r\n", [b"a\r\n", b"b\r\n"]),
        (b"a\rb\n", [b"a\rb\n"]),
        (b"a\0b\n", [b"a\0b\n"]),
        ("a\u2028b\u2029c\x85d\n".encode(), ["a\u2028b\u2029c\x85d\n".encode()]),
        (b"a\x0bb\x0cc\x1cd\n", [b"a\x0bb\x0cc\x1cd\n"]),
    ],
)
def test_lines_end_at_a_newline_and_nowhere_else(content, lines):
    assert [line for _, _, line in lines_of(content)] == lines


def test_lines_know_their_number_and_where_they_begin():
    assert lines_of(b"ab\n\nc") == [(1, 0, b"ab\n"), (2, 3, b"\n"), (3, 4, b"c")]


@pytest.mark.parametrize("ending", [b"", b"\n"])
@pytest.mark.parametrize(
    "length, kept", [(1023, True), (1024, True), (1025, False), (2049, False), (2050, False)]
)
def test_a_line_is_too_long_only_beyond_the_cap(length, kept, ending):
    [(_, _, content)] = lines_of(b"x" * length + ending)

    assert content == (b"x" * length + ending if kept else None)


@pytest.mark.parametrize("length", range(3, 14))
def test_a_line_that_is_too_long_shifts_no_line_after_it(length):
    assert lines_of(b"a\n" + b"x" * length + b"\nb\n", cap=2) == [
        (1, 0, b"a\n"),
        (2, 2, None),
        (3, 3 + length, b"b\n"),
    ]


@given(
    st.lists(st.sampled_from([b"\n", b"x", b"yy", b"\r", b"\xe2\x80\xa8"])).map(b"".join), st.integers(1, 5)
)
def test_every_line_is_yielded_once_and_offsets_point_at_it(content, cap):
    lines = list(read_lines(io.BytesIO(content), max_line_bytes=cap))

    expected = content.split(b"\n") if not content.endswith(b"\n") else content.split(b"\n")[:-1]
    expected = expected if content else []
    assert [content[line.offset :].split(b"\n")[0] for line in lines] == expected
    assert [line.content is None for line in lines] == [len(text) > cap for text in expected]


@pytest.mark.parametrize(
    "content, is_blank",
    [
        (b"\n", True),
        (b" \t\r\n", True),
        (b"\xef\xbb\xbf\n", True),
        (b"\xef\xbb\xbf", True),
        (b"0\n", False),
        (b"\0\n", False),
        ("\u00a0\n".encode(), False),
        (b"x" * (CAP + 1), False),
        (b" " * (CAP + 1), False),
    ],
)
def test_a_line_is_blank_when_it_holds_nothing_but_space(content, is_blank):
    [line] = read_lines(io.BytesIO(content), max_line_bytes=CAP)

    assert line.is_blank == is_blank


# ---- the value on a line


@pytest.mark.parametrize(
    "content, value",
    [
        (b'{"a": 1}\n', {"a": 1}),
        (b'{"a": 1}\r\n', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"a": "x\u2028y"}\n'.encode(), {"a": "x\u2028y"}),
        (b'{"a": {"a": 1}, "b": {"a": 2}}', {"a": {"a": 1}, "b": {"a": 2}}),
        (b'{"a": null, "b": [1e3]}', {"a": None, "b": [1000.0]}),
        (b"3", 3),
    ],
)
def test_a_json_value_is_read(content, value):
    assert parse_row(content) == value


@pytest.mark.parametrize(
    "content, told",
    [
        (b'{"a": 1', r"column \d+: .*; expected one JSON object"),
        (b'{"a": 1} {}', "column 10: the JSON value has ended"),
        (b"{'a': 1}", "column 2: .*double quotes"),
        (b'{"a": "\0"}', "column 8: a string has a line break, a tab"),
        (b'{"a": "\t"}', "column 8: a string has a line break, a tab"),
        (b"\0", "column 1"),
        (b'{"a": "\xff"}', "byte 8 is 0xff; expected UTF-8"),
        (b'\xff\xfe{\x00"\x00', "byte 1 is 0xff; expected UTF-8"),
        (
            b'\xef\xbb\xbf{"a": "\xff"}',
            "byte 11 is 0xff; expected UTF-8; if the whole file is in another enc",
        ),
        (b'{"a": "\xed\xa0\x80"}', "byte 8 is 0xed; expected UTF-8"),
        (b'{"a": NaN}', "the number NaN is not JSON"),
        (b'{"a": -Infinity}', "the number -Infinity is not JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', 'key "a" appears twice in one object'),
        (b'{"x": {"a\\u001b": 1, "a\\u001b": 1}}', r'key "a\\x1b" appears twice'),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits.*; expected one JSON object"),
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b'{"a":' * 100_000, "nested more than 64 levels deep"),
    ],
)
def test_what_is_not_one_json_value_in_utf8_is_told(content, told):
    with pytest.raises(BadRow, match=told) as caught:
        parse_row(content)

    assert len(str(caught.value)) < 200


def test_a_key_given_twice_is_found_at_once_among_very_many():
    keys = ",".join(f'"k{i}":0' for i in range(60_000))
    started = time.process_time()

    with pytest.raises(BadRow, match='key "z" appears twice'):
        parse_row(f'{{{keys},"z":0,"z":0}}'.encode())

    assert time.process_time() - started < 5  # comparing all keys with all takes minutes


# ---- rows by position


def test_rows_are_read_in_any_order(tmp_path):
    row_file = open_rows(write_jsonl(tmp_path / "a.jsonl", rows(5)))

    assert [row_file.read(i) for i in (3, 0, 4, 4)] == [rows(5)[i] for i in (3, 0, 4, 4)]
    row_file.close()


def test_rejected_and_blank_lines_are_left_out_and_the_others_keep_their_numbers(tmp_path):
    path = write_jsonl(
        tmp_path / "a.jsonl", ["", row("1"), "broken", " \r", row("2"), "x" * (CAP + 1), row("3")]
    )

    row_file = open_rows(path, rejected=(3, 6))

    assert [row_file.line_number(i) for i in range(len(row_file))] == [2, 5, 7]
    assert values(row_file) == [row("1"), row("2"), row("3")]


def test_the_last_row_may_lack_its_newline_and_the_first_may_have_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(item).encode() for item in rows(3)))

    assert values(open_rows(path)) == rows(3)


def test_a_file_without_rows_has_none(tmp_path):
    assert values(open_rows(write_jsonl(tmp_path / "a.jsonl", ["", ""]))) == []


@pytest.mark.parametrize("change", [b"x", b"\n"])
def test_a_file_that_changed_since_its_check_is_refused(tmp_path, change):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))
    job = job_for(path)
    path.write_bytes(path.read_bytes() + change)

    with pytest.raises(FileChanged, match=rf"a\.jsonl has SHA-256 \w+…, but {job.sha256[:12]}… was checked"):
        RowFile.open(path, sha256=job.sha256, max_line_bytes=CAP)


def test_a_file_that_is_touched_while_it_is_open_is_read_on(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))

    with closing(open_rows(path)) as opened:
        first = opened.read(0)
        os.utime(path, ns=(0, 1))
        rest = [opened.read(1), opened.read(2)]

    assert [first, *rest] == rows(3)


def test_a_file_that_is_written_to_while_it_is_open_is_read_no_further(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))

    with closing(open_rows(path)) as opened:
        opened.read(0)
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b" }")
        os.utime(path, ns=(0, 1))

        for _ in range(2):
            with pytest.raises(BadRow, match="was changed while it was being trained"):
                opened.read(1)


def test_lines_that_say_the_same_have_the_same_hash_whatever_ends_them(tmp_path):
    line = json.dumps(row()).encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([line, line + b"\r", b"", line + b" ", line]))

    with closing(RowFile.open(path, sha256=file_sha256(path), max_line_bytes=CAP, must_hash=True)) as opened:
        first, second, other, last = opened.hashes

    assert first == second == last != other


def test_lines_are_hashed_only_for_those_who_want_it(tmp_path):
    with closing(open_rows(write_jsonl(tmp_path / "a.jsonl", rows(2)))) as opened:
        assert len(opened.hashes) == 0


def test_an_opened_file_may_be_moved_and_removed(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))
    row_file = open_rows(path)

    path.rename(tmp_path / "b.jsonl").unlink()

    assert values(row_file) == rows(3)


def test_a_row_that_was_damaged_after_opening_is_told(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(2))
    row_file = open_rows(path)
    path.write_bytes(b"\0" * path.stat().st_size)

    with pytest.raises(BadRow, match="changed while it was being trained"):
        row_file.read(1)
    row_file.close()


def test_a_symlink_is_not_opened(tmp_path):
    (tmp_path / "a.jsonl").symlink_to(write_jsonl(tmp_path / "b.jsonl", rows(1)))

    with pytest.raises(OSError, match="symbolic link; expected a regular file"):
        open_rows(tmp_path / "a.jsonl")


@pytest.mark.parametrize("first_line", [b"[\n", b"{\n", b'[{"messages": [],\n'])
def test_a_document_of_several_lines_is_told_how_to_become_rows(first_line):
    with pytest.raises(BadRow, match=r"column \d+: .*; write one row per line, such as with: jq -c"):
        parse_row(first_line)


def test_a_number_that_no_float_can_hold_is_told():
    with pytest.raises(BadRow, match="the number 1e999 is too large; expected one that fits a float"):
        parse_row(b'{"difficulty": 1e999}')


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_json_is_named_in_the_words_of_python(fault):
    rows = {
        "Expecting value": b'{"a": }', "Expecting property name": b"{a: 1}",
        "Expecting ':' delimiter": b'{"a" 1}',
        "Expecting ',' delimiter": b'{"a": 1 "b": 2}', "Illegal trailing comma": b'{"a": 1, }',
        "Extra data": b"{} {}", "Unterminated string": b'{"a": "x',
        "Invalid control character": b'{"a": "\t"}',
        "Invalid \\uXXXX escape": b'{"a": "\\u12"}', "Invalid \\escape": b'{"a": "\\x"}',
    }  # fmt: skip

    with pytest.raises(BadRow) as refused:
        parse_row(rows[fault])

    assert any(words in str(refused.value) for words in FAULTS.values())
