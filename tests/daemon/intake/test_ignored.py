"""What is in a file that is not accepted is told with a command that can be typed as it stands."""

import gzip
import os

import pytest
import zstandard

from daemon.intake.ignored import hint_for
from tests.daemon.data_tools.tables.table_files import CSV, write_arrow, write_dataset, write_parquet


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

    assert hint(inbox, "my data.xls").endswith(f"training_queue add '{inbox}/my data.xls'")
    assert hint(inbox, "a.parquet") == (
        "inbox/a.parquet: it is a Parquet file, not JSON Lines; convert and add it: "
        f"training_queue add {inbox}/a.parquet"
    )
    assert hint(inbox, "a.arrow").endswith(f"training_queue add {inbox}/a.arrow")


def test_a_part_of_a_data_set_is_added_with_its_folder(inbox):
    write_dataset(inbox / "set")

    assert hint(inbox, "set/data-00000-of-00001.arrow").endswith(f"training_queue add {inbox}/set")


@pytest.mark.parametrize(
    "name, pack, target",
    [
        ("a.ndjson", bytes, "a.jsonl"),
        ("a.json.gz", gzip.compress, "a.jsonl.gz"),
        ("a.zip", zstandard.compress, "a.jsonl.zst"),
    ],
)
def test_json_lines_under_another_name_only_need_another_name(inbox, name, pack, target):
    (inbox / name).write_bytes(pack(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n'))

    assert hint(inbox, name) == (
        f"inbox/{name}: it looks like JSON Lines; rename it: mv {inbox}/{name} {inbox}/{target}"
    )


def test_nothing_is_said_of_what_nobody_knows(inbox):
    (inbox / "empty.csv").touch()
    (inbox / "garbage.bin").write_bytes(bytes(range(128, 256)) * 99)
    (inbox / "notes.txt").write_text("Remember the milk.")
    (inbox / "cut.gz").write_bytes(gzip.compress(CSV)[:12])
    (inbox / "link.csv").symlink_to(inbox / "notes.txt")
    (inbox / "folder.csv").mkdir()
    os.mkfifo(inbox / "pipe.csv")

    names = sorted(path.name for path in inbox.iterdir())

    assert [name for name in [*names, "gone.csv"] if hint(inbox, name)] == []
