"""Whatever is wrong with a file, the verdict says where and what, and what is good is trained."""

import gzip
import io
import json
import os
import re
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from tests.corpus.cases import (
    BAD_FILES,
    BAD_LINES,
    GOOD_LINES,
    MAX_LINE_BYTES,
    MIDDLE,
    BadFile,
    BadLine,
    between,
)
from tests.support import row, rows, write_jsonl
from trainer.data.checks.file_check import MAX_UNPACKED_BYTES, FileCheck, check_file
from trainer.data.reading import unpacking
from trainer.data.reading.rows import FileChanged, RowFile
from trainer.protocol.files import file_sha256

PACKERS = {"gzip": gzip.compress, "Zstandard": zstandard.compress}


def check(path: Path, **options: object) -> FileCheck:
    return check_file(path, max_line_bytes=MAX_LINE_BYTES, **options)


def packed(content: bytes, packer: str) -> bytes:
    return PACKERS[packer](content)


@pytest.fixture(params=PACKERS)
def packer(request: pytest.FixtureRequest) -> str:
    return request.param


# ---- single lines


@pytest.mark.parametrize("case", BAD_LINES.values(), ids=list(BAD_LINES))
def test_a_bad_line_is_told_and_the_others_are_trained(tmp_path, case: BadLine):
    path = tmp_path / "a.jsonl"
    path.write_bytes(between(case.content))

    found = check(path)

    assert (found.rows, found.rejected_lines) == (2, (MIDDLE,))
    assert found.first_rejection.startswith(f"line {MIDDLE}: ")
    assert case.reason in found.first_rejection
    assert len(found.first_rejection) < 400


@pytest.mark.parametrize("line", GOOD_LINES.values(), ids=list(GOOD_LINES))
def test_what_only_looks_odd_is_trained(tmp_path, line: bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(between(line))

    found = check(path)

    assert (found.rows, found.verdict(0.0)) == (3, None)


# ---- whole files


@pytest.mark.parametrize("case", BAD_FILES.values(), ids=list(BAD_FILES))
def test_a_bad_file_is_refused_as_a_whole(tmp_path, case: BadFile):
    path = tmp_path / "a.jsonl"
    path.write_bytes(case.content)

    assert case.reason in check(path).verdict(1.0)


def test_what_is_wrong_before_the_first_line_is_not_after_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 100)

    assert check(path).verdict(1.0).startswith("the archive is damaged")


def test_the_command_that_converts_a_file_names_it(tmp_path):
    path = tmp_path / "my chat.jsonl"
    path.write_text('{"text": "a"}\n', encoding="utf-16")

    assert check(path).verdict(1.0).endswith("iconv -f UTF-16 -t UTF-8 'my chat.jsonl' > NAME.jsonl")


def test_the_formats_of_bad_lines_do_not_count(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": 3}, row(), {"prompt": "p", "completion": 3}, row()])

    found = check(path)

    assert (found.format, found.rows, found.verdict(0.5)) == ("messages", 2, None)


@pytest.mark.parametrize(
    "rows_, format",
    [
        ([{"prompt": "p", "completion": "c"}, {"question": "q", "answer": "a"}], "prompt_completion"),
        ([{"text": "t"}], "text"),
        ([], None),
    ],
)
def test_the_format_of_a_file_is_that_of_its_rows(tmp_path, rows_, format):
    assert check(write_jsonl(tmp_path / "a.jsonl", rows_)).format == format


def test_rows_may_have_other_names(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"frage": "q", "antwort": "a"}])

    without, with_names = check(path), check(path, fields={"prompt": "frage", "completion": "antwort"})

    assert (without.rows, with_names.rows, with_names.format) == (0, 1, "prompt_completion")


def test_skills_difficulties_and_sources_are_counted_up_to_a_limit(tmp_path):
    many = [row() | {"skill": f"s{i}", "metadata": {"difficulty": 2}} for i in range(22)]
    path = write_jsonl(
        tmp_path / "a.jsonl", [*many, row() | {"skill": "s1"}, row() | {"source": ["x"]}, row()]
    )

    found = check(path).to_job(id="1", name="a.jsonl").metadata

    assert found["difficulty"] == {"2": 22}
    assert (len(found["skill"]), found["skill"]["s1"], found["skill"]["(others)"]) == (21, 2, 2)
    assert "source" not in found


def test_counted_values_are_printable_and_short(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row() | {"skill": "\x1b[31m" + "x" * 100}])

    [value] = check(path).metadata["skill"]

    assert value.isprintable()
    assert len(value) < 80


# ---- what is no regular file


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "link to a file"])
def test_what_may_never_end_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "a.jsonl"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to a file":
            path.symlink_to(write_jsonl(tmp_path / "b.jsonl", rows(1)))

    with pytest.raises(OSError, match="expected a regular file"):
        check(path)


# ---- packed files


def test_a_packed_file_is_checked_like_its_text(tmp_path, packer):
    text = between(b"no json")
    plain, path = tmp_path / "a.jsonl", tmp_path / "a.packed"
    plain.write_bytes(text)
    path.write_bytes(packed(text, packer))

    expected, found = check(plain), check(path)

    assert (found.rows, found.rejected_lines) == (expected.rows, expected.rejected_lines)
    assert (found.sha256, found.size_bytes) == (file_sha256(path), path.stat().st_size)


def test_a_packed_file_may_have_several_parts(tmp_path, packer):
    path = tmp_path / "a.packed"
    parts = [b"".join(json.dumps(item).encode() + b"\n" for item in rows(3, start=i)) for i in (0, 3)]
    path.write_bytes(b"".join(packed(part, packer) for part in parts))

    found = check(path)

    assert (found.rows, found.verdict(0.0), found.sha256) == (6, None, file_sha256(path))


def test_notes_in_front_of_zstandard_are_passed_over(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"\x52\x2a\x4d\x18\x03\x00\x00\x00abc" + zstandard.compress(between(b"")))

    assert check(path).rows == 2


def test_a_packed_file_may_unpack_to_the_last_byte_allowed(tmp_path, packer):
    path, text = tmp_path / "a.packed", between(b"")
    path.write_bytes(packed(text, packer))

    allowed = check(path, max_unpacked_bytes=len(text))
    refused = check(path, max_unpacked_bytes=len(text) - 1)

    assert allowed.verdict(0.0) is None
    assert f"more than {len(text) - 1} bytes (data.max_unpacked_bytes)" in refused.verdict(0.0)


@pytest.mark.long
def test_a_bomb_is_refused_early_and_in_little_memory(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    bomb = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(bomb, closefd=False) as writer:
        for _ in range(2000):
            writer.write(bytes(1 << 20))
    path.write_bytes(bomb.getvalue())
    tracemalloc.start()

    found = check(path, max_unpacked_bytes=MAX_UNPACKED_BYTES)

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "200 times its size" in found.refusal
    assert peak_bytes < 128 << 20


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"  \t\n"])
def test_a_bomb_of_blank_lines_is_refused_after_a_second_of_them(tmp_path, packer, blank, monkeypatch):
    monkeypatch.setattr(unpacking, "LINES_WITHOUT_ROWS", 1000)
    path = tmp_path / "a.packed"
    path.write_bytes(packed(b'{"text": "a"}\n' + blank * 1_000_000, packer))

    refusal = check(path).refusal

    assert "lines, nearly all of them blank, like one made to keep a reader busy" in refusal
    found = re.match(r"after line (\d+): ", refusal)
    assert int(found[1] if found else 0) <= 2 * unpacking.BUFFER_BYTES


def test_a_packed_file_may_have_blank_lines_between_short_rows(tmp_path, packer, monkeypatch):
    monkeypatch.setattr(unpacking, "LINES_WITHOUT_ROWS", 1000)
    path = tmp_path / "a.packed"
    path.write_bytes(packed(b'{"text": "a"}\n\n\n' * 5000, packer))

    assert check(path).verdict(0.0) is None


def test_rows_of_a_packed_file_are_read_in_any_order(tmp_path, packer):
    path, scratch = tmp_path / "a.packed", tmp_path / "models" / "cache"
    text = b"\n" + b"\n".join(json.dumps(item).encode() for item in rows(5))
    path.write_bytes(packed(text, packer))

    row_file = RowFile.open(path, sha256=file_sha256(path), max_line_bytes=MAX_LINE_BYTES, scratch=scratch)
    path.unlink()

    assert [row_file.read(i) for i in (3, 0, 4)] == [rows(5)[i] for i in (3, 0, 4)]
    assert [row_file.line_number(i) for i in (0, 4)] == [2, 6]
    assert scratch.stat().st_mode & 0o077 == 0
    assert list(scratch.iterdir()) == []
    row_file.close()


def test_a_packed_file_that_changed_since_its_check_is_refused(tmp_path, packer):
    path, text = tmp_path / "a.packed", between(b"")
    path.write_bytes(packed(text, packer))
    sha256 = file_sha256(path)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(FileChanged, match=r"a\.packed: the archive ends too early"):
        RowFile.open(path, sha256=sha256, max_line_bytes=MAX_LINE_BYTES, scratch=tmp_path)
    path.write_bytes(packed(text + b"\n", packer))
    with pytest.raises(FileChanged, match="was checked"):
        RowFile.open(path, sha256=sha256, max_line_bytes=MAX_LINE_BYTES, scratch=tmp_path)
