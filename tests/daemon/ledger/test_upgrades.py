"""Ledgers of earlier releases are brought up to date; those of later ones are left alone."""

import sqlite3

import pytest

from daemon.ledger.database import MIGRATIONS, SCHEMA_VERSION, UnusableLedger
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import crash, read, step
from tests.support import FakeClock
from trainer.protocol.job import Window

VERSION_1 = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, name BLOB NOT NULL, display TEXT NOT NULL, priority TEXT NOT NULL,
    state TEXT NOT NULL, sha256 TEXT NOT NULL, rows INTEGER NOT NULL,
    rejected TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    accepted_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    settings TEXT, reason TEXT, rows_trained INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER, seconds REAL, first_loss REAL, last_loss REAL
);
CREATE TABLE steps (
    global_step INTEGER PRIMARY KEY, job_id TEXT NOT NULL, file_step INTEGER NOT NULL, rows INTEGER NOT NULL,
    tokens INTEGER NOT NULL, supervised_tokens INTEGER NOT NULL, loss REAL, learning_rate REAL NOT NULL,
    grad_norm REAL, seconds REAL NOT NULL
);
INSERT INTO jobs (id, name, display, priority, state, sha256, rows, rejected, size_bytes, device, inode,
    mtime_ns, accepted_at, attempts)
    VALUES ('1', 'a.jsonl', 'a.jsonl', 'low', 'processing', 'abc', 2, '[]', 200, 1, 2, 4, '2026-01-01', 2);
INSERT INTO steps VALUES (1, '1', 1, 1, 10, 5, 0.5, 1e-4, NULL, 0.1);
PRAGMA user_version=1;
"""


def test_a_ledger_of_another_release_is_refused_and_left_alone(layout):
    database = sqlite3.connect(layout.ledger_file)
    database.execute("PRAGMA user_version=99")
    database.close()
    before = layout.ledger_file.read_bytes()

    with pytest.raises(UnusableLedger, match="schema version is 99; expected 8"):
        Ledger(layout.ledger_file, clock=FakeClock())

    assert list(layout.status.glob("*.corrupt-*")) == []
    assert layout.ledger_file.read_bytes()[:16] == before[:16]


@pytest.fixture
def version_1(layout):
    database = sqlite3.connect(layout.ledger_file)
    database.executescript(VERSION_1)
    database.close()


def test_a_ledger_of_version_1_is_brought_up_to_date_and_keeps_what_it_has(layout, version_1):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())

    ledger.leave_out("1", Window(first=1, last=1))
    ledger.add_steps([step(2, not_applied="nan")])
    ledger.add_crash(crash())
    known = ledger.find_job("1")
    assert [file.job_id for file in ledger.open_files()] == ["1"]
    ledger.close()

    assert (known.job.name, known.state, known.start_number) == ("a.jsonl", "processing", None)
    assert read(layout, "SELECT attempts, left_out FROM jobs") == [(2, "[[1, 1]]")]
    assert read(layout, "SELECT global_step FROM steps") == [(1,), (2,)]
    assert read(layout, "SELECT replayed FROM steps") == [(0,), (0,)]
    assert read(layout, "SELECT * FROM stretches") == [(1, 2, "1", 1)]
    assert read(layout, "PRAGMA user_version") == [(8,)]


def test_an_update_that_is_cut_off_leaves_the_old_version_whole(layout, version_1, monkeypatch):
    monkeypatch.setattr(
        "daemon.ledger.database.SCHEMA", "CREATE TABLE jobs (id TEXT);"
    )  # there is one already
    with pytest.raises(UnusableLedger, match="already exists"):
        Ledger(layout.ledger_file, clock=FakeClock())
    monkeypatch.undo()

    ledger = Ledger(layout.ledger_file, clock=FakeClock())

    assert [file.job_id for file in ledger.open_files()] == ["1"]
    ledger.close()


def test_the_order_of_the_model_is_found_in_the_steps_of_an_older_ledger(layout, version_1):
    database = sqlite3.connect(layout.ledger_file)
    database.executemany(
        "INSERT INTO steps VALUES (?, ?, ?, 1, 10, 5, 0.5, 1e-4, NULL, 0.1)",
        [(2, "1", 2), (3, "2", 1), (4, "2", 2), (5, "1", 3)],
    )
    database.commit()
    database.close()

    Ledger(layout.ledger_file, clock=FakeClock()).close()

    found = read(layout, "SELECT first_step, last_step, job_id, first_file_step FROM stretches")
    assert found == [(1, 2, "1", 1), (3, 4, "2", 1), (5, 5, "1", 3)]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_old_and_new_ledgers_have_the_same_columns(layout, version_1, version):
    database = sqlite3.connect(layout.ledger_file)
    for before in range(1, version):
        database.executescript(f"{MIGRATIONS[before]}PRAGMA user_version={before + 1};")
    database.close()
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    migrated = columns(layout)

    layout.ledger_file.unlink()
    Ledger(layout.ledger_file, clock=FakeClock()).close()

    assert migrated == columns(layout)


def columns(layout):
    tables = ("jobs", "steps", "left_steps", "validations", "left_validations")
    return [read(layout, f"SELECT name FROM pragma_table_info('{table}')") for table in tables]


def test_the_name_that_crashes_had_before_still_answers_for_a_release(layout, ledger):
    ledger.add_crash(crash("once"))
    ledger.commit()

    assert read(layout, "SELECT message FROM deaths") == [("once",)]
