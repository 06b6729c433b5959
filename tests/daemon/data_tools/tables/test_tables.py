"""Every kind of table that people have gives the same rows; what is wrong with one is said with its place."""

import csv
import datetime
import gzip
import io
import json
import sqlite3
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pytest

from daemon.data_tools.operations import copy_rows
from daemon.data_tools.reading import BadInput, DataFile, LeftOut
from tests.daemon.data_tools.tables.table_files import (
    COLUMNS,
    CSV,
    ROWS,
    write_arrow,
    write_dataset,
    write_parquet,
)
from tests.support import every_case
from trainer.config.schema import DataSettings
from trainer.data.reading.file_kinds import FileKind, kind_of


def converted(path, left_out=None, **settings):
    out = io.BytesIO()
    copy_rows(DataFile(path, DataSettings(**settings)), out, left_out or LeftOut())
    return [json.loads(line) for line in out.getvalue().split(b"\n") if line]


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path, **settings):
    with pytest.raises(BadInput) as error:
        converted(path, **settings)
    return str(error.value)


# ---- what becomes of good ones


def test_every_kind_of_table_gives_the_same_rows(tmp_path):
    tsv = io.StringIO(newline="")
    csv.writer(tsv, dialect="excel-tab").writerows([COLUMNS, *zip(*COLUMNS.values(), strict=True)])
    semicolons = io.StringIO(newline="")
    csv.writer(semicolons, delimiter=";").writerows([COLUMNS, *zip(*COLUMNS.values(), strict=True)])
    files = [
        written(tmp_path / "a.csv", CSV),
        written(tmp_path / "mark.csv", b"\xef\xbb\xbf" + CSV),
        written(tmp_path / "lf.csv", CSV.replace(b"\r\n", b"\n")),
        written(tmp_path / "blank.csv", CSV + b"\r\n\r\n"),
        written(tmp_path / "semicolons.csv", semicolons.getvalue()),
        written(tmp_path / "a.csv.gz", gzip.compress(CSV)),
        written(tmp_path / "renamed.jsonl", CSV),
        written(tmp_path / "a.tsv", tsv.getvalue()),
        written(tmp_path / "line.json", json.dumps(ROWS)),
        written(tmp_path / "lines.json", "\ufeff" + json.dumps(ROWS, indent=2)),
        written(tmp_path / "object.json", json.dumps({"data": ROWS})),
        written(tmp_path / "object.jsonl", json.dumps({"data": ROWS}, indent=2)),
        written(tmp_path / "more.json", json.dumps({"n": 12, "s": ["]"], "rows": ROWS, "e": []})),
        written(tmp_path / "a.ndjson", "\n".join(map(json.dumps, ROWS))),
        write_parquet(tmp_path / "a.parquet"),
        write_parquet(tmp_path / "parquet.jsonl"),
        write_arrow(tmp_path / "a.arrow"),
        write_arrow(tmp_path / "stream.arrow", as_stream=True),
    ]

    with every_case() as cases:
        for file in files:
            with cases.case(file.name):
                assert converted(file) == ROWS


def test_a_folder_that_datasets_has_saved_gives_the_rows_of_all_its_files(tmp_path):
    assert converted(write_dataset(tmp_path / "set", parts=3)) == ROWS * 3


def test_a_link_to_a_table_is_as_good_as_the_table(tmp_path):
    (tmp_path / "link.csv").symlink_to(written(tmp_path / "a.csv", CSV))

    assert converted(tmp_path / "link.csv") == ROWS


def test_cells_of_a_csv_stay_text_but_lists_of_messages_are_parsed(tmp_path):
    messages = [{"role": "user", "content": "Hi, you."}]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["messages", "id", "tags"], [json.dumps(messages), "007", "[1]"]])

    [row] = converted(written(tmp_path / "a.csv", out.getvalue()))

    assert row == {"messages": messages, "id": "007", "tags": "[1]"}


def test_lists_of_messages_keep_their_form_in_parquet(tmp_path):
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ho."}]

    rows = converted(write_parquet(tmp_path / "a.parquet", {"messages": [messages]}))

    assert rows == [{"messages": messages}]


def test_dates_become_text(tmp_path):
    day = datetime.date(2026, 1, 2)
    path = write_parquet(tmp_path / "a.parquet", {"text": ["a"], "day": [day], "turns": [[{"at": day}]]})

    assert converted(path) == [{"text": "a", "day": "2026-01-02", "turns": [{"at": "2026-01-02"}]}]


def test_maps_become_objects(tmp_path):
    maps = pyarrow.array([[("a", day := datetime.date(2026, 1, 2))], []], pyarrow.map_("string", "date32"))

    assert converted(write_parquet(tmp_path / "a.parquet", {"map": maps})) == [
        {"map": {"a": str(day)}},
        {"map": {}},
    ]


def test_objects_lose_the_keys_that_only_others_of_their_column_have(tmp_path):
    columns = {"call": [{"name": "f", "arguments": {"city": "Rome"}}, {"name": "g", "arguments": {"n": 3}}]}

    rows = converted(write_parquet(tmp_path / "a.parquet", columns | {"id": [7, None]}))

    assert rows == [
        {"call": {"name": "f", "arguments": {"city": "Rome"}}, "id": 7},
        {"call": {"name": "g", "arguments": {"n": 3}}, "id": None},
    ]


def test_headers_as_pandas_and_spreadsheets_write_them_are_understood(tmp_path):
    cases = {
        "index.csv": (",prompt\n0,a\n", {"Unnamed: 0": "0", "prompt": "a"}),
        "edge.csv": ("prompt,,\na,,\n", {"prompt": "a"}),
        "sep.csv": ("sep=;\r\nprompt;x,y\r\na;b\r\n", {"prompt": "a", "x,y": "b"}),
        "mark.csv": ("\ufeffsep=|\nprompt|x\na|b\n", {"prompt": "a", "x": "b"}),
        "one.csv": ("text\na\n", {"text": "a"}),
    }

    with every_case() as tried:
        for name, (content, row) in cases.items():
            with tried.case(name):
                assert converted(written(tmp_path / name, content)) == [row]


def test_an_element_that_no_row_may_be_is_left_out_with_its_number(tmp_path):
    left_out = LeftOut()
    content = '[{"a": 1},\n {"a":\n NaN}, {"a": 1, "a": 2}, {"a": 4}]'

    rows = converted(written(tmp_path / "a.json", content), left_out)

    assert rows == [{"a": 1}, {"a": 4}]
    assert left_out.first[0].startswith("a.json:2: the number NaN is not JSON")
    assert left_out.first[1].startswith('a.json:3: key "a" appears twice')


def viewer_page(items, **beside):
    """Return what the dataset viewer of Hugging Face answers."""
    columns = [
        {"feature_idx": i, "name": name, "type": {"dtype": "string"}} for i, name in enumerate(COLUMNS)
    ]
    return json.dumps({"features": columns, "rows": items, "num_rows_total": len(items)} | beside)


def wrapped(row, number=0, **beside):
    return {"row_idx": number, "row": row} | beside


def test_rows_of_the_dataset_viewer_are_those_that_it_wraps(tmp_path):
    whole = [wrapped(row, i, truncated_cells=[]) for i, row in enumerate(ROWS)]
    page = viewer_page(whole)
    files = [
        written(tmp_path / "page.json", page),
        written(tmp_path / "lines.json", json.dumps(json.loads(page), indent=1)),
        written(tmp_path / "sorted.json", json.dumps(json.loads(page), sort_keys=True)),
        written(tmp_path / "rows-first.json", json.dumps({"rows": whole, **json.loads(page)})),
        written(tmp_path / "no-columns.json", viewer_page(whole, features=[])),
        written(tmp_path / "bare.json", viewer_page([wrapped(row, i) for i, row in enumerate(ROWS)])),
    ]

    with every_case() as tried:
        for file in files:
            with tried.case(file.name):
                assert converted(file) == ROWS


def test_rows_that_the_dataset_viewer_cut_off_are_left_out_with_their_numbers(tmp_path):
    left_out = LeftOut()
    cut = wrapped({"prompt": "a", "completion": "So…"}, 1, truncated_cells=["completion"])
    page = viewer_page([wrapped(ROWS[0]), cut, wrapped(ROWS[1], 2, truncated_cells=[])])

    rows = converted(written(tmp_path / "a.json", page), left_out)

    assert rows == ROWS
    assert left_out.first == [
        'a.json:2: the dataset viewer cut off "completion" (truncated_cells); expected whole texts; take '
        "this row from a file of the data set, such as its Parquet files"
    ]


def test_only_what_is_exactly_a_wrapped_row_is_unwrapped(tmp_path):
    rows = [{"row_idx": 1, "row": {"a": 1}, "score": 1}, {"row_idx": 1, "row": "a"}]
    cases = {
        "more keys": ({"rows": rows[:1]}, rows[:1]),
        "row of words": ({"rows": rows[1:]}, rows[1:]),
        "another list": ({"data": [wrapped({"a": 1})]}, [wrapped({"a": 1})]),
    }

    with every_case() as tried:
        for name, (page, expected) in cases.items():
            with tried.case(name):
                assert converted(written(tmp_path / "a.json", json.dumps(page))) == expected


def test_a_row_that_no_row_may_be_is_left_out_of_a_page_of_the_dataset_viewer(tmp_path):
    left_out = LeftOut()
    page = viewer_page([wrapped({"a": float("nan")}), wrapped({"a": 1}, 1)])

    assert converted(written(tmp_path / "a.json", page), left_out) == [{"a": 1}]
    assert left_out.first[0].startswith("a.json:1: the number NaN is not JSON")


@pytest.mark.long
@pytest.mark.parametrize("name", ["big.csv", "big.json"])
def test_memory_stays_flat(tmp_path, name):
    cell = "x" * 1000
    rows = [{"prompt": cell, "completion": "y"}] * 20_000
    with (tmp_path / name).open("w") as file:
        if name.endswith("json"):
            json.dump(rows, file)
        else:
            file.write("prompt,completion\n" + f"{cell},y\n" * len(rows))
    tracemalloc.start()

    count = sum(1 for _ in DataFile(tmp_path / name, DataSettings()).lines())

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(rows)
    assert peak_bytes < 4 << 20


@pytest.mark.parametrize("line_end", ["", "\n"])
def test_memory_stays_flat_while_a_row_does_not_end(tmp_path, line_end):
    path = written(tmp_path / "a.csv", 'prompt,completion\n"' + ("x" * 99 + line_end) * 200_000)
    tracemalloc.start()

    message = refusal(path, max_line_bytes=100_000)

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "line 2: the row does not end within 200000 characters" in message
    assert peak_bytes < 4 << 20


def test_the_quotes_of_a_cell_do_not_count_twice(tmp_path):
    messages = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 20
    cell = json.dumps(messages)
    table = 'id,messages\n7,"' + cell.replace('"', '""') + '"\n'
    path = written(tmp_path / "a.csv", table)

    found = converted(path, max_line_bytes=len(cell) + 100)

    assert found == [{"id": "7", "messages": messages}]
    assert len(table) > len(cell) + 100


def test_the_limit_of_one_table_changes_nothing_for_the_next(tmp_path):
    long = b'prompt,completion\n"' + b"x" * 9000 + b'",b\n'
    path = written(tmp_path / "long.csv", long)

    refusal(path, max_line_bytes=1024)

    assert kind_of(long) is FileKind.CSV
    assert converted(path) == [{"prompt": "x" * 9000, "completion": "b"}]


def test_a_name_decides_only_what_the_content_leaves_open(tmp_path):
    line = b'{"prompt": "a", "completion": "b"}\n'
    one_column = b"text\nhello\n"
    cases = {
        "lines.csv": (line, [{"prompt": "a", "completion": "b"}]),
        "mark.csv": (b"\xef\xbb\xbf\n " + line, [{"prompt": "a", "completion": "b"}]),
        "lines.csv.gz": (gzip.compress(line), [{"prompt": "a", "completion": "b"}]),
        "a.csv": (one_column, [{"text": "hello"}]),
        "A.CSV": (one_column, [{"text": "hello"}]),
        "a.csv.GZ": (gzip.compress(one_column), [{"text": "hello"}]),
        "object.csv": (b"text\n{hello\n", [{"text": "{hello"}]),
    }

    with every_case() as tried:
        for name, (content, expected) in cases.items():
            with tried.case(name):
                assert converted(written(tmp_path / name, content)) == expected


# ---- what is wrong with others


def refuse_each(folder, cases):
    """Write files (name -> content, words), and expect these words after the file's name in each refusal."""
    with every_case() as tried:
        for name, (content, said) in cases.items():
            with tried.case(name):
                message = refusal(written(folder / name, content), max_line_bytes=1024)
                assert message.startswith(f"{name}: ")
                assert said in message


def test_what_is_wrong_with_a_csv_is_said_with_its_place(tmp_path):
    cases = {
        "empty.csv": (b"", "it is empty; expected a header"),
        "mark.csv": (b"\xef\xbb\xbf", "it is empty; expected a header"),
        "unnamed.csv": (
            b"prompt,,x\na,,c\na,b,c\n",
            'line 3: column 2 holds "b", but has no name in the header; expected one',
        ),
        "sep.csv": (b"sep=;\r\n", "it is empty; expected a header"),
        "twice.csv": (b"prompt,prompt\na,b\n", 'line 1: two columns are named "prompt"'),
        "more.csv": (
            b'prompt,completion\n"a\nb",c\nd,e,f\n',
            "line 4: found 3 cells; expected 2 as in the header (prompt, completion)",
        ),
        "fewer.csv": (b"prompt,completion\na,b\nc\n", "line 3: found 1 cell; expected 2"),
        "quote.csv": (b'prompt,completion\n"a"b,c\n', "line 2: ',' expected after '\"'"),
        "open.csv": (b'prompt,completion\n"a,b\n', "line 2: unexpected end of data"),
        "latin.csv": (
            "prompt,completion\nä,b\n".encode("latin-1"),
            "latin.csv: found the byte 0xe4; expected UTF-8; convert it: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {tmp_path}/latin.csv > NAME.csv (or whatever",
        ),
        "utf16.csv": (
            "prompt,completion\na,b\n".encode("utf-16"),
            "the file is UTF-16; expected UTF-8; convert it: "
            f"iconv -f UTF-16 -t UTF-8 {tmp_path}/utf16.csv > NAME.csv",
        ),
        "utf32.csv": ("prompt,completion\na,b\n".encode("utf-32"), "the file is UTF-32; expected UTF-8"),
        "utf16.json": (
            '[{"prompt": "a"}]'.encode("utf-16"),
            f"iconv -f UTF-16 -t UTF-8 {tmp_path}/utf16.json > NAME.json",
        ),
    }

    refuse_each(tmp_path, cases)


def test_the_page_quotes_what_is_said_of_a_csv(tmp_path):
    lines = ["prompt,completion", *["a,b"] * 15, "a,b,c"]

    message = refusal(written(tmp_path / "table.csv", "\n".join(lines).encode()), max_line_bytes=1024)

    page = Path(__file__).parents[4] / "docs" / "data" / "tools.md"
    assert f"    {message}\n" in page.read_text()


def test_a_cell_that_is_no_list_of_messages_or_too_long_is_said_with_its_place(tmp_path):
    cases = {
        "python.csv": (
            b"messages,id\n\"[{'role': 'user'}]\",1\n",
            'line 2: column "messages" begins like a list, but is not JSON',
        ),
        "nan.csv": (
            b'messages,id\n"[{""a"": NaN}]",1\n',
            "is not JSON: the number NaN is not JSON; expected",
        ),
        "keys.csv": (
            b'conversation,id\n"[{""a"": 1, ""a"": 2}]",1\n',
            'is not JSON: key "a" appears twice in one object; expected messages',
        ),
        "long.csv": (
            b"prompt,completion\na," + b"x" * 2000,
            "line 2: column 2 has 2000 characters; expected at most 1024",
        ),
        "cell.csv": (b"prompt,completion\na,b\n" + b"x" * 1025 + b",c\n", "line 3: column 1 has 1025 char"),
        "line.csv": (b"prompt,completion\na," + b"x" * 5000, "line 2: the row does not end within 2048 char"),
        "quote_left_open.csv": (
            b'prompt,completion\na,b\nc,"d\n' + b"e,f\n" * 9000,
            "line 3: the row does not end within 2048 characters (2 times data.max_line_bytes)",
        ),
    }

    refuse_each(tmp_path, cases)


def test_what_is_wrong_with_a_json_document_is_said_with_its_place(tmp_path):
    cases = {
        "cut.json": (b'[{"a": 1}, {"a": ', "element 2: no JSON value begins here; found the end of the file"),
        "open.json": (b'[{"a": 1}', "element 2: expected a comma before it, or ] at the end"),
        "fault.json": (b'[{"a": 1}, {"a" 1}]' + b" " * 500_000, "element 2: a colon is missing; found "),
        "rest.json": (b'[{"a": 1}] x', "found x after the end of the array"),
        "list.json": (b'[{"a": 1}, 7]', "element 2: found 7; expected an object"),
        "latin.json": ('[{"a": "ä"}]'.encode("latin-1"), "0xe4; expected UTF-8"),
        "long.json": (b'[{"a": "' + b"x" * 500_000, "element 1 does not end within 1024 bytes"),
        "deep.json": (b'[{"a": ' + b"[" * 100_000, "element 1: nested too deeply"),
        "two.json": (
            b'{"train": [{"a": 1}], "test": [{"a": 2}]}',
            """it holds two lists of objects, "train" and "test"; take one of them: jq -c '.["train"][]' /""",
        ),
        "mixed_page.json": (
            viewer_page([wrapped({"a": 1}), {"a": 2}]),
            "element 2: found the keys a; expected row_idx, row and truncated_cells, as the elements",
        ),
        "other_list.json": (
            viewer_page([wrapped({"a": 1})], features=[{"name": "a", "words": "b"}]),
            'two lists of objects, "features" and "rows"',
        ),
        "cut_object.json": (b'{"data": [{"a": 1}', "element 2: expected a comma before it, or ] at the end"),
        "open_object.json": (
            b'{"data":\n[{"a": 1}]',
            "a key of the object: no JSON value begins here; found ",
        ),
        "rest_of_object.json": (b'{\n"data": [{"a": 1}]} x', "found x after the end of the object"),
    }

    refuse_each(tmp_path, cases)


def test_a_damaged_or_packed_table_of_columns_is_refused(tmp_path):
    cases = {
        "bad.parquet": (b"PAR1" + bytes(range(256)), "it is damaged"),
        "bad.arrow": (b"ARROW1\x00\x00" + bytes(range(256)), "it is damaged"),
        "twice.parquet.gz": (gzip.compress(b"PAR1" + bytes(99)), "packed once more; unpack it first"),
    }

    refuse_each(tmp_path, cases)


def test_what_json_has_no_word_for_is_refused_with_its_row_and_column(tmp_path):
    cases = {
        "pictures": (b"\x89PNG", "a value of type bytes"),
        "score": (float("nan"), "NaN or an infinite number"),
        "parts": ([{"image": b"\x89PNG"}], "a value of type bytes"),
        "scores": ([1.0, float("inf")], "NaN or an infinite number"),
    }

    with every_case() as tried:
        for name, (value, what) in cases.items():
            with tried.case(name):
                path = write_parquet(tmp_path / "a.parquet", {"text": ["a", "b"], name: [None, value]})
                assert f'row 2: column "{name}" holds {what}; expected text' in refusal(path)


def test_a_damaged_arrow_file_is_refused_wherever_it_is_damaged(tmp_path):
    whole = write_arrow(tmp_path / "a.arrow").read_bytes()
    places = [place for place in range(8, len(whole)) if whole[place]][::7]
    count = len(ROWS).to_bytes(8, "little")
    places += [place + 7 for place in range(len(whole)) if whole[place:].startswith(count)]  # its sign

    with every_case() as tried:
        for place in places:
            with tried.case(f"byte {place}"):
                damaged = written(tmp_path / "b.arrow", whole[:place] + b"\xff" + whole[place + 1 :])
                try:
                    rows = converted(damaged)
                except BadInput:
                    continue
                assert len(rows) == len(ROWS)


def test_a_column_that_cannot_be_read_is_refused_by_name(tmp_path):
    latin = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
    far = pyarrow.array([2**60], pyarrow.timestamp("ms"))

    with every_case() as tried:
        for name, column in {"words": latin, "far": far}.items():
            with tried.case(name):
                path = write_parquet(tmp_path / "a.parquet", {"text": ["a"], name: column})
                assert f'rows 1 to 1: column "{name}" cannot be read: ' in refusal(path)


def test_a_database_is_refused_with_the_command_that_exports_it(tmp_path):
    with sqlite3.connect(tmp_path / "a.csv") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()

    assert "databases are not converted; export the table that you mean: sqlite3 -header" in refusal(
        tmp_path / "a.csv"
    )


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    splits = tmp_path / "splits"
    write_dataset(splits / "train")
    (splits / "dataset_dict.json").write_text('{"splits": ["train"]}')

    assert "it is a folder; expected a file, or a folder that datasets has saved" in refusal(tmp_path)
    assert f"has the splits train; expected one of them, such as {splits / 'train'}" in refusal(splits)


@pytest.mark.parametrize("splits", ["3", "null", "{}", "[]", "[3]", '{"a": 1}'])
def test_splits_that_are_no_list_of_names_are_told(tmp_path, splits):
    (tmp_path / "dataset_dict.json").write_text(f'{{"splits": {splits}}}')

    assert "dataset_dict.json names no splits" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name, shown", [("gone.arrow",) * 2, ("", ""), ("a\\u0000b", r"a\x00b"), ("a\\ud800b", r"a\ud800b")]
)
def test_a_part_of_a_data_set_that_is_not_there_is_named(tmp_path, name, shown):
    (tmp_path / "state.json").write_text(f'{{"_data_files": [{{"filename": "{name}"}}]}}')

    assert f'state.json names "{shown}", which is not in the folder' in refusal(tmp_path)


def test_a_data_set_whose_rows_stand_in_another_order_is_refused(tmp_path):
    folder = write_dataset(tmp_path / "set")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))

    assert "notes in a file of its own which rows it has" in refusal(folder)


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a.csv").symlink_to(tmp_path / "a.csv")

    assert "a.csv is a link in a circle" in refusal(tmp_path / "a.csv")


def test_a_data_set_reads_nothing_outside_of_its_folder(tmp_path):
    folder = write_dataset(tmp_path / "set")
    write_arrow(tmp_path / "secret.arrow")
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')

    assert 'names "secret.arrow", which is not in the folder' in refusal(folder)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert "install the extra `tables`: scripts/setup tables" in refusal(path)
