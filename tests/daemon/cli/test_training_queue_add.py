"""training_queue add, run as a person runs it, without a daemon."""

import gzip
import json

import pytest

from daemon.cli.training_queue import app
from tests.daemon.cli.runner import runner_of
from tests.daemon.data_tools.tables.table_files import CSV, ROWS, write_arrow, write_dataset, write_parquet
from tests.support import rows, write_jsonl

run = runner_of(app)


def test_add_copies_and_leaves_the_users_file_alone(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))

    result = run(layout, "add", str(file), "--priority", "high")

    copy = layout.inbox / "high" / "chat.jsonl"
    assert result.exit_code == 0
    assert copy.read_bytes() == file.read_bytes()
    assert copy.stat().st_ino != file.stat().st_ino


def test_add_never_overwrites_a_file_of_the_same_name(layout, tmp_path):
    (layout.inbox / "normal" / "chat.jsonl").write_text("first")
    file = write_jsonl(tmp_path / "chat.jsonl", rows(1))

    result = run(layout, "add", str(file), "--json")

    assert (layout.inbox / "normal" / "chat.jsonl").read_text() == "first"
    assert json.loads(result.stdout)[0]["added_as"] == "chat-2.jsonl"


def test_add_names_a_file_by_both_names_if_its_own_was_taken(layout, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(1))

    shown = [run(layout, "add", str(file)).stdout for _ in range(2)]

    assert shown == ["added chat.jsonl (normal)\n", "added chat.jsonl as chat-2.jsonl (normal)\n"]


@pytest.mark.parametrize("name", ["notes.txt", ".hidden.jsonl", "chat.jsonl.part"])
def test_add_refuses_names_that_would_never_be_taken_and_adds_nothing(layout, tmp_path, name):
    good = write_jsonl(tmp_path / "good.jsonl", rows(1))
    bad = write_jsonl(tmp_path / name, rows(1))

    result = run(layout, "add", str(good), str(bad))

    assert result.exit_code != 0
    assert "expected a name that ends in .jsonl" in str(result.exception)
    assert not list(layout.inbox.rglob("*.jsonl"))


def test_add_follows_a_link_that_the_user_names(layout, tmp_path):
    file = write_jsonl(tmp_path / "real.jsonl", rows(1))
    (tmp_path / "link.jsonl").symlink_to(file)

    run(layout, "add", str(tmp_path / "link.jsonl"))

    copy = layout.inbox / "normal" / "link.jsonl"
    assert not copy.is_symlink()
    assert copy.read_bytes() == file.read_bytes()


def test_add_says_that_a_table_in_the_inbox_stays_there_with_its_alert(layout, tmp_path):
    (layout.inbox / "table.csv").write_bytes(CSV)
    (tmp_path / "other.csv").write_bytes(CSV)

    result = run(layout, "add", str(layout.inbox / "table.csv"), str(tmp_path / "other.csv"))

    assert result.stderr == (
        "inbox/table.csv stays where it is, and so does its alert, until you move it out of inbox/\n"
    )
    assert (layout.inbox / "table.csv").exists()


def test_add_says_how_a_file_that_had_failed_is_moved_away(layout):
    (layout.failed / "a table.jsonl").write_bytes(CSV)

    result = run(layout, "add", str(layout.failed / "a table.jsonl"))

    name = "'failed/a table.jsonl'"
    assert result.stderr == f"{name} stays there; to move it away: training_queue clear {name}\n"


def test_add_converts_what_people_have_and_says_so(layout, tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.tsv", "c.json", "d.ndjson", "e.csv.gz", "f.jsonl")]
    contents = [CSV, CSV.replace(b",c", b"\tc").replace(b"?,", b"?\t").replace(b'",', b'"\t')]
    contents += [json.dumps(ROWS).encode(), b"\n".join(json.dumps(item).encode() for item in ROWS)]
    contents += [gzip.compress(CSV), CSV]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    files += [write_parquet(tmp_path / "g.parquet"), write_arrow(tmp_path / "h.arrow")]
    files += [write_dataset(tmp_path / "i")]

    result = run(layout, "add", *map(str, files))

    added = sorted(path for path in (layout.inbox / "normal").iterdir())
    assert [path.name for path in added] == [f"{letter}.jsonl" for letter in "abcdefghi"]
    for path in added:
        assert [json.loads(line) for line in path.read_bytes().split(b"\n") if line] == ROWS
    assert result.stdout.splitlines()[0] == (
        f"added a.jsonl (normal), 2 rows converted from {tmp_path / 'a.csv'}"
    )


def test_a_program_learns_how_many_rows_were_converted(layout, tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV)
    chat = write_jsonl(tmp_path / "chat.jsonl", rows(1))

    out = run(layout, "add", str(tmp_path / "a.csv"), str(tmp_path / "a.csv"), str(chat), "--json").stdout

    assert [(file["added_as"], file["converted_rows"]) for file in json.loads(out)] == [
        ("a.jsonl", 2),
        ("a-2.jsonl", 2),
        ("chat.jsonl", None),
    ]


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", b"prompt,completion\na,b,c\n", "a.csv: line 2: found 3 cells; expected 2"),
        ("a.csv", b"prompt,completion\n", "a.csv has no rows; expected at least one; nothing was added"),
        ("a.json", b'[{"a": 1}, {"a": NaN}]', "training_data convert"),
        (
            "a.json",
            b'{"rows": [{"row_idx": 0, "row": {"a": "b"}, "truncated_cells": ["a"]}]}',
            'a.json:1: the dataset viewer cut off "a"',
        ),
        ("a.json", b'{\n"a": 1}', "expected one JSON object per line"),
        ("a.jsonl", b"SQLite format 3\x00", "databases are not converted"),
        ("a.parquet", b"\x80\x81", "byte 1 is 0x80; expected UTF-8"),
    ],
)
def test_a_table_that_cannot_be_converted_adds_nothing_at_all(layout, tmp_path, name, content, said):
    good = write_jsonl(tmp_path / "good.jsonl", rows(1))
    (tmp_path / name).write_bytes(content)

    result = run(layout, "add", str(good), str(tmp_path / name))

    assert said in str(result.exception)
    assert [path for path in layout.inbox.rglob("*") if path.is_file()] == []


def test_a_table_whose_columns_no_format_has_is_refused_at_once(layout, tmp_path):
    table = tmp_path / "phone_list.csv"
    table.write_text("name,phone\nada,1\nbob,2\n")

    failure = run(layout, "add", str(table)).exception

    assert 'found "name", "phone"; expected ' in str(failure)
    assert str(failure).startswith("phone_list.csv:")
    assert str(failure).endswith("; no other row can be trained either; nothing was added")
    assert not any(path.is_file() for path in layout.inbox.rglob("*"))


def test_a_table_without_rows_in_columns_adds_nothing(layout, tmp_path):
    write_parquet(tmp_path / "none.parquet", {"prompt": [], "completion": []})

    result = run(layout, "add", str(tmp_path / "none.parquet"))

    assert "none.parquet has no rows" in str(result.exception)


@pytest.mark.parametrize("name", ["", ".", "below/.."])
def test_a_folder_that_is_no_data_set_is_named_and_not_added(layout, tmp_path, monkeypatch, name):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)

    result = run(layout, "add", name or str(tmp_path))

    said = f"{tmp_path.name}: it is a folder; expected a file, or a folder that datasets has saved"
    assert said in str(result.exception)
