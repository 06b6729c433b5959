"""What says how a file would be trained takes tables, too, and names that the inbox would not accept."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from daemon.cli import training_daemon, training_data
from daemon.client import Client
from daemon.client.errors import FileRefused, NotATrainingFile
from tests.daemon.cli.runner import runner_of
from tests.daemon.data_tools.tables.table_files import CSV, ROWS, write_dataset, write_parquet
from tests.support import every_case, rows, write_jsonl
from trainer.protocol import one_shot
from trainer.protocol.data_report import DataReport
from trainer.protocol.job import FaultKind
from trainer.protocol.show import Shown

run = runner_of(training_data.app)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Return the rows that a process was asked about, and let nobody use any other folder for copies."""
    found = []
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    def ask(module, order, answer_type, **options):
        path = Path(order.file)
        found.append((path, path.read_bytes()))
        if answer_type is Shown:
            return Shown(
                file=order.file,
                row=order.row,
                max_length=1,
                overlong="drop",
                train_on="all",
                row_tokens=7,
                examples=(),
                missing_turns=(),
            )
        return report(path.name)

    monkeypatch.setattr(one_shot, "ask", ask)
    return found


def report(name):
    return DataReport(
        file=name,
        sha256="ab",
        validation="standard",
        rows=2,
        rejected_rows=0,
        sampled_rows=2,
        max_length=2048,
        tokens=None,
        over_max_length=0,
        supervised_share=0.5,
        rows_without_target=0,
        duplicate_rows=0,
        classes={},
        findings=(),
    )


def parsed(content):
    return [json.loads(line) for line in content.splitlines()]


def tables(folder):
    (folder / "table.csv").write_bytes(CSV)
    (folder / "data.json").write_text(json.dumps({"data": ROWS}))
    return [
        folder / "table.csv",
        folder / "data.json",
        write_parquet(folder / "a.parquet"),
        write_dataset(folder / "set"),
    ]


@pytest.mark.parametrize("command", [["validate"], ["show", "--row", "2"]])
def test_a_table_is_inspected_as_what_would_be_added(layout, asked, tmp_path, command):
    with every_case() as cases:
        for table in tables(tmp_path):
            with cases.case(table.name):
                result = run(layout, *command, str(table))
                path, content = asked[-1]
                assert (result.exit_code, parsed(content)) == (0, ROWS)
                assert path.name == f"{table.stem}.jsonl"

    assert os.listdir(tmp_path / "copies") == []


@pytest.mark.parametrize(
    "name, content, what",
    [
        ("table.csv", CSV, "a table of comma-separated values (CSV)"),
        ("array.json", json.dumps(ROWS).encode(), "one JSON array"),
        ("folder", None, "a folder that datasets has saved"),
    ],
)
def test_the_report_says_what_is_inspected_as_json_lines(layout, asked, tmp_path, name, content, what):
    if content is None:
        write_dataset(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)

    shown = run(layout, "validate", str(tmp_path / name)).stdout

    assert f"it is {what}, inspected as the JSON Lines that training_queue add makes of it" in shown


def test_the_report_is_headed_by_the_name_of_the_table(layout, asked, tmp_path):
    with every_case() as cases:
        for table in tables(tmp_path):
            with cases.case(table.name):
                assert run(layout, "validate", str(table)).stdout.split()[:2] == ["file", table.name]
                assert Client(layout.base).data.inspect(table).file == table.name


def test_a_program_is_told_the_table_and_not_its_copy(layout, asked, tmp_path):
    table = tmp_path / "table.csv"
    table.write_bytes(CSV)

    assert Client(layout.base).data.show(table, 1).file == str(table)


def test_an_error_names_the_table_and_not_its_copy(layout, asked, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    table.write_bytes(CSV)

    def refuse(module, order, *_, **__):
        raise one_shot.OrderRefused(f"{order.file}:7: the row is bad", FaultKind.BAD_DATA)

    monkeypatch.setattr(one_shot, "ask", refuse)

    with pytest.raises(FileRefused) as error:
        Client(layout.base).data.show(table, 7)

    assert str(error.value) == f"{table}:7: the row is bad"


def test_a_dry_run_takes_a_table(layout, asked, tmp_path):
    table = tmp_path / "table.csv"
    table.write_bytes(CSV)

    runner_of(training_daemon.app)(layout, "--dry-run", str(table))

    assert parsed(asked[-1][1]) == ROWS


def test_a_table_that_would_not_be_added_is_refused(layout, asked, tmp_path):
    table = tmp_path / "table.json"
    table.write_text('[{"a": 1}, {"a": NaN}]')

    with pytest.raises(NotATrainingFile) as error:
        Client(layout.base).data.inspect(table)

    assert str(error.value) == (
        "table.json:2: the number NaN is not JSON; expected a finite number or null; it would not be added; "
        f"correct it, or leave such rows out: training_data convert {table} NEW.jsonl"
    )
    assert not asked


def test_what_is_called_like_a_training_file_is_inspected_as_the_daemon_would(layout, asked, tmp_path):
    table = tmp_path / "table.jsonl"
    table.write_bytes(CSV)

    report = Client(layout.base).data.inspect(table)

    assert asked[-1] == (table, CSV)
    assert report.findings == ()


@pytest.mark.parametrize(
    "name, way_out",
    [
        ("chat.ndjson", "add it with training_queue add, or rename it"),
        ("chat.txt", "rename it"),
        (".chat.jsonl", "rename it"),
        ("chat.jsonl.part", "rename it"),
    ],
)
def test_a_name_that_the_inbox_would_not_accept_is_a_warning(layout, asked, tmp_path, name, way_out):
    file = write_jsonl(tmp_path / name, rows(3))

    shown = run(layout, "validate", str(file)).stdout

    assert asked[-1][0] == file
    assert (
        f'! inbox/ does not take a file named "{name}"; expected a name that ends in .jsonl or .jsonl.gz or '
        f".jsonl.zst; {way_out}\n"
    ) in shown


def test_a_name_that_is_accepted_is_nothing_to_tell(layout, asked, tmp_path):
    file = write_jsonl(tmp_path / "chat.jsonl", rows(3))

    assert Client(layout.base).data.inspect(file).findings == ()
