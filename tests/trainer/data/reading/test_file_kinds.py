"""A file is known by its content, whatever it is called; what may be JSON Lines is never taken for else."""

import gzip
import io
import json
import sqlite3
import tarfile
import zipfile

import pytest

from tests.support import every_case, rows
from trainer.data.reading.file_kinds import BYTES_LOOKED_AT, FileKind, kind_of, what_it_is

ROWS = rows(3)
TIMES = 1_500  # so that even the shortest of what is repeated is longer than what is looked at
COLUMNS = [{"feature_idx": 0, "name": "messages", "type": {"_type": "List"}}]
WRAPPED = [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in enumerate(ROWS)]


def a_database(tmp_path):
    path = tmp_path / "a"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    return path.read_bytes()


def a_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return out.getvalue()


def a_zip(*names, content="{}"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names or ["a.jsonl"]:
            archive.writestr(name, content)
    return out.getvalue()


def by_content():
    """Return what is not JSON Lines, and what it is."""
    return {
        "CSV": (b"prompt,completion\n1 + 1?,2\n", FileKind.CSV),
        "CSV with CRLF and a mark": (b"\xef\xbb\xbfprompt,completion\r\n1 + 1?,2\r\n", FileKind.CSV),
        "CSV with quotes and line ends": (b'prompt,completion\n"a, ""b""\n{c","d"\n', FileKind.CSV),
        "CSV with semicolons": (b"frage;antwort\n1,5?;2\n", FileKind.SEMICOLONS),
        "CSV that is cut off": (b"prompt,completion\n" + b"1,2\n" * BYTES_LOOKED_AT, FileKind.CSV),
        "TSV": (b"prompt\tcompletion\n1 + 1?\t2\n", FileKind.TSV),
        "array on one line": (json.dumps(ROWS).encode(), FileKind.JSON_ARRAY),
        "array over lines": (json.dumps(ROWS, indent=1).encode(), FileKind.JSON_ARRAY),
        "array with a mark": (b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), FileKind.JSON_ARRAY),
        "array that is cut off": (json.dumps(ROWS * TIMES).encode()[:BYTES_LOOKED_AT], FileKind.JSON_ARRAY),
        "object on one line": (json.dumps({"data": ROWS}).encode(), FileKind.JSON_OBJECT),
        "object over lines": (json.dumps({"data": ROWS}, indent=1).encode(), FileKind.JSON_OBJECT),
        "object with more": (
            json.dumps({"version": 1, "meta": {"a": [{}]}, "rows": ROWS, "total": 3}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "object with lists of both sides": (
            json.dumps({"train": ROWS, "test": ROWS}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "object over lines under any key": (
            json.dumps({"sums": ROWS}, indent=1).encode(),
            FileKind.JSON_OBJECT,
        ),
        "object that is cut off": (
            json.dumps({"version": "1", "data": ROWS * TIMES}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "object over lines that is cut off": (
            json.dumps({"sums": ROWS * TIMES}, indent=1).encode(),
            FileKind.JSON_OBJECT,
        ),
        "page of the dataset viewer": (
            json.dumps({"features": COLUMNS, "rows": WRAPPED, "num_rows_total": 3}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "page of the dataset viewer that is cut off": (
            json.dumps({"dataset": "a", "features": COLUMNS, "rows": WRAPPED * TIMES}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "page of the dataset viewer over lines that is cut off": (
            json.dumps({"features": COLUMNS, "rows": WRAPPED * TIMES}, indent=1).encode(),
            FileKind.JSON_OBJECT,
        ),
        "page of the dataset viewer that is cut off in its columns": (
            json.dumps({"features": COLUMNS * TIMES, "rows": WRAPPED}).encode(),
            FileKind.JSON_OBJECT,
        ),
        "CSV as Excel writes it": (b"sep=;\r\nprompt;completion\r\na;b\r\n", FileKind.SEMICOLONS),
        "CSV of one column as Excel writes it": (b"sep=,\ntext\na\n", FileKind.CSV),
        "Parquet": (b"PAR1\x15\x04", FileKind.PARQUET),
        "Arrow": (b"ARROW1\x00\x00\xff\xff\xff\xff", FileKind.ARROW_FILE),
        "Arrow stream": (b"\xff\xff\xff\xff\x78\x00\x00\x00\x10", FileKind.ARROW_STREAM),
        "CSV with an index": (b",prompt,completion\n0,a,b\n", FileKind.CSV),
        "CSV with an index by name": (b"Unnamed: 0,prompt\n0,a\n", FileKind.CSV),
        "ZIP": (a_zip(), FileKind.ZIP),
        "Excel": (a_zip("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"), FileKind.ZIP),
        "Word": (a_zip("[Content_Types].xml", "_rels/.rels", "word/document.xml"), FileKind.DOCUMENT),
        "OpenDocument": (
            a_zip("mimetype", content="application/vnd.oasis.opendocument.text"),
            FileKind.DOCUMENT,
        ),
        "packed twice": (gzip.compress(b"{}"), FileKind.PACKED_TWICE),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:7\n", FileKind.LFS_POINTER),
        "web page": (b"\n<!DOCTYPE html>\n<html>", FileKind.HTML),
        "tar": (a_tar(), FileKind.TAR),
    }


def test_what_is_not_json_lines_is_recognised_by_its_content(tmp_path):
    cases = by_content() | {"SQLite": (a_database(tmp_path), FileKind.SQLITE)}

    with every_case() as tried:
        for name, (content, kind) in cases.items():
            with tried.case(name):
                assert kind_of(content) is kind


def test_what_may_be_json_lines_is_nothing_else():
    row = json.dumps(ROWS[0])
    cases = {
        "rows": f"{row}\n{row}\n",
        "a bad line first": f"no, json\n{row}\n",
        "a faulty row": '{"prompt": "a", "completion"\n',
        "an object over lines": json.dumps(ROWS[0], indent=1),
        "one row that is a list of messages": json.dumps(ROWS[0]["messages"]),
        "rows that are lists": '[{"a": 1}]\n[{"a": 2}]\n',
        "lists of no objects": "[1, 2]\n",
        "rows that hold lists of objects": '{"data": [{"a": 1}]}\n{"data": [{"a": 2}]}\n',
        "one row under a name of one's own": '{"dialog": [{"speaker": "a", "words": "b"}]}\n',
        "one row of messages": json.dumps({"data": ROWS[0]["messages"]}),
        "one row of messages over lines": json.dumps({"dialog": ROWS[0]["messages"]}, indent=1),
        "one row beside a list of objects": '{"prompt": "a", "completion": "b", "items": [{"id": 1}]}',
        "a row beside a list of objects, cut off": '{"prompt": "a", "items": [{"id": "'
        + "x" * BYTES_LOOKED_AT,
        "a row beside columns, cut off": '{"features": [{"name": "a"}], "messages": [{"role": "'
        + "x" * BYTES_LOOKED_AT,
        "pages of the dataset viewer on lines": f"{json.dumps({'features': COLUMNS, 'rows': WRAPPED})}\n" * 2,
        "a faulty row that holds a list": '{"data": [{"a" 1}]}\n{"data": [{"a": 1}]}\n',
        "one object without rows": '{"data": {"a": 1}}',
        "one object with lists of words": '{"data": ["a", "b"]}',
        "words": "Hello, world.\nIt is me, you know.\n",
        "numbers": "1,2\n3,4\n",
        "nothing": "",
        "blank lines": "\n\n",
        "an open quote": '"a,b\nc,d\n',
    }

    with every_case() as tried:
        for name, text in cases.items():
            with tried.case(name):
                assert kind_of(text.encode()) is None


def test_random_bytes_are_nothing_that_is_known():
    assert kind_of(bytes(range(128, 256)) * 99) is None


@pytest.mark.parametrize("kind", FileKind)
def test_every_kind_has_a_way_out_that_names_the_file(kind):
    said = what_it_is(kind, "inbox/my data.jsonl")

    assert said.startswith(f"it is {kind.value}, not JSON Lines; ")
    assert "'inbox/my data.jsonl'" in said


def test_a_pointer_is_fetched_where_the_file_was_copied_from():
    said = what_it_is(FileKind.LFS_POINTER, "queue/failed/my data.jsonl")

    assert said.endswith(
        "fetch the file itself where it was copied from: git lfs pull --include 'my data.jsonl'; "
        "then put it in the place of 'queue/failed/my data.jsonl'"
    )
