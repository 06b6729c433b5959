"""What is in a file that is not accepted is told with a command that can be typed as it stands."""

import gzip
import json
import os
import subprocess

import pytest
import zstandard

from daemon.intake.ignored import hint_for
from tests.daemon.data_tools.tables.table_files import CSV, write_arrow, write_dataset, write_parquet
from tests.support import every_case
from trainer.protocol.text import printable


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def hint(inbox, name):
    return hint_for(inbox / name, inbox.parent)


def test_a_table_is_told_with_the_command_that_converts_it(inbox):
    (inbox / "my data.xls").write_bytes(CSV)
    write_parquet(inbox / "a.parquet")
    write_arrow(inbox / "a.arrow")
    base = inbox.parent

    assert hint(inbox, "my data.xls").endswith(f"training_queue add '{inbox}/my data.xls' --base-dir {base}")
    assert hint(inbox, "a.parquet") == (
        "inbox/a.parquet: it is a Parquet file, not JSON Lines; convert and add it: "
        f"training_queue add {inbox}/a.parquet --base-dir {base}"
    )
    assert hint(inbox, "a.arrow").endswith(f"training_queue add {inbox}/a.arrow --base-dir {base}")


def test_what_spreadsheets_and_web_services_write_is_told_with_its_command(inbox):
    rows = [{"prompt": "a", "completion": "b"}] * 2
    cases = {
        "one-column.csv": (b"text\nHello, world.\nIt is me.\n", "comma-separated values"),
        "one-column.csv.gz": (gzip.compress(b"text\nHello.\n"), "comma-separated values"),
        "excel.csv": (b"sep=;\r\ntext;label\r\na;b\r\n", "values separated by semicolons"),
        "excel.xls": (b"sep=;\r\ntext\r\na\r\n", "values separated by semicolons"),
        "semicolons.csv": (b"prompt;completion\na;b\n", "values separated by semicolons"),
        "tabs.csv": (b"prompt\tcompletion\na\tb\n", "tab-separated values"),
        "commas.csv": (b"prompt,completion\na,b\n", "comma-separated values"),
        "one-line.json": (json.dumps({"data": rows}).encode(), "one JSON object around a list of rows"),
        "viewer.json": (
            json.dumps({"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": rows[0]}]}).encode(),
            "one JSON object around a list of rows",
        ),
        "lines.json": (
            json.dumps({"data": rows}, indent=2).encode(),
            "one JSON object around a list of rows",
        ),
    }

    with every_case() as tried:
        for name, (content, what) in cases.items():
            with tried.case(name):
                (inbox / name).write_bytes(content)
                said = hint(inbox, name)
                assert what in said
                assert said.endswith(f"training_queue add {inbox}/{name} --base-dir {inbox.parent}")


def test_rows_over_several_lines_are_told_with_the_command_that_joins_their_lines(inbox):
    (inbox / "a.json").write_text(json.dumps({"prompt": "a", "completion": "b"}, indent=1) * 2)

    assert hint(inbox, "a.json") == (
        "inbox/a.json: it looks like JSON objects over several lines; write one on each line: "
        f"jq -c . {inbox}/a.json > NAME.jsonl"
    )


def test_a_part_of_a_data_set_is_added_with_its_folder(inbox):
    write_dataset(inbox / "set")

    said = hint(inbox, "set/data-00000-of-00001.arrow")

    assert said.endswith(f"training_queue add {inbox}/set --base-dir {inbox.parent}")


@pytest.mark.parametrize(
    "name, pack, target",
    [
        ("a.ndjson", bytes, "a.jsonl"),
        ("a.json.gz", gzip.compress, "a.jsonl.gz"),
        ("a.zip", zstandard.compress, "a.jsonl.zst"),
        ("part.1.json", bytes, "part.1.jsonl"),
    ],
)
def test_json_lines_under_another_name_only_need_another_name(inbox, name, pack, target):
    (inbox / name).write_bytes(pack(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n'))

    assert hint(inbox, name) == (
        f"inbox/{name}: it looks like JSON Lines; rename it: mv -n {inbox}/{name} {inbox}/{target}"
    )


@pytest.mark.parametrize(
    "name", [b"two\nlines.csv", b"latin-\xe9.csv", "right\u202eleft.csv".encode(), b"it's\x1b[31m.csv"]
)
def test_the_command_names_a_file_of_any_name(inbox, name):
    path = inbox / os.fsdecode(name)
    path.write_bytes(CSV)

    said = hint_for(path, inbox.parent)

    assert printable(said) == said
    command = said.partition("training_queue add ")[2]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True
    ).stdout
    assert words.split(b"\0")[0] == os.fsencode(path)


def test_a_table_whose_rows_do_not_fit_is_told_with_the_command_that_says_where(inbox):
    path = inbox / "register.csv"
    path.write_text("prompt;completion;note\nWhat is it?;A bowl; blue;1900\n")

    said = hint_for(path, inbox.parent)

    assert said == (
        "inbox/register.csv: it is named like a table, but its rows do not fit; to see where: "
        f"training_queue add {path} --base-dir {inbox.parent}"
    )


def test_nothing_is_said_of_what_nobody_knows(inbox):
    (inbox / "empty.csv").touch()
    (inbox / "garbage.bin").write_bytes(bytes(range(128, 256)) * 99)
    (inbox / "notes.txt").write_text("Remember the milk.")
    (inbox / "notes.csv").write_text("Remember the milk.")
    (inbox / "brace.txt").write_text("{\nmilk\n}")
    (inbox / "cut.gz").write_bytes(gzip.compress(CSV)[:12])
    (inbox / "link.csv").symlink_to(inbox / "notes.txt")
    (inbox / "folder.csv").mkdir()
    os.mkfifo(inbox / "pipe.csv")

    names = sorted(path.name for path in inbox.iterdir())

    assert [name for name in [*names, "gone.csv"] if hint(inbox, name)] == []
