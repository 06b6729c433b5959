"""The ledger's file: its tables, and how it is opened, brought up to date, and quarantined if damaged."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Parameters = Sequence[Any] | Mapping[str, Any]

# Where steps are thinned out it is a guess
STRETCHES_IN_STEPS = """
SELECT min(global_step) AS first_step, max(global_step) AS last_step, job_id,
    min(file_step) AS first_file_step
FROM (
    SELECT *, row_number() OVER (ORDER BY global_step)
        - row_number() OVER (PARTITION BY job_id ORDER BY global_step) AS island FROM steps
) GROUP BY job_id, island
"""

SCHEMA_VERSION = 8
LOCK_TIMEOUT_S = 10.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,           -- sorts by arrival
    name BLOB NOT NULL,            -- bytes, as the file system has them
    display TEXT NOT NULL,         -- the name made printable
    priority TEXT NOT NULL,
    state TEXT NOT NULL,           -- waiting, processing, completed, failed, skipped, removed
    sha256 TEXT NOT NULL,
    rows INTEGER NOT NULL,         -- that can be trained
    rejected TEXT NOT NULL,        -- JSON list of line numbers
    size_bytes INTEGER NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    accepted_at TEXT NOT NULL, started_at TEXT, finished_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    settings TEXT,                 -- JSON; frozen when the job first starts
    reason TEXT,                   -- JSON, as in NAME.reason.json
    rows_trained INTEGER NOT NULL DEFAULT 0,  -- this and the next five: once the job has ended
    steps INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER, seconds REAL, first_loss REAL, last_loss REAL,
    began INTEGER,                 -- counts starts; files in processing/ are trained in this order
    micro_batch_tokens INTEGER,    -- what it started with under `auto`; less once memory ran out
    left_out TEXT,                 -- JSON list of [first, last]: steps, from 0, that are not trained
    replayed TEXT,                 -- JSON; files that rows are replayed from, frozen with the settings
    format TEXT NOT NULL DEFAULT '',     -- of all rows, such as messages
    metadata TEXT NOT NULL DEFAULT '{}'  -- JSON; how many rows have which skill, difficulty and source
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);
CREATE INDEX IF NOT EXISTS jobs_by_begin ON jobs (began);
CREATE TABLE IF NOT EXISTS attempts (
    job_id TEXT NOT NULL, number INTEGER NOT NULL, started_at TEXT NOT NULL,
    ended_at TEXT, verdict TEXT, message TEXT, PRIMARY KEY (job_id, number)
);
CREATE TABLE IF NOT EXISTS steps (
    global_step INTEGER PRIMARY KEY, job_id TEXT NOT NULL, file_step INTEGER NOT NULL, rows INTEGER NOT NULL,
    tokens INTEGER NOT NULL, supervised_tokens INTEGER NOT NULL, loss REAL, learning_rate REAL NOT NULL,
    grad_norm REAL, seconds REAL NOT NULL,
    replayed INTEGER NOT NULL DEFAULT 0, -- rows of earlier files, besides `rows`
    waited_s REAL                        -- besides `seconds`, for its rows; null where it was not measured
);
CREATE INDEX IF NOT EXISTS steps_by_job ON steps (job_id, file_step);
CREATE TABLE IF NOT EXISTS stretches (  -- of steps of one job that followed each other; never thinned out
    first_step INTEGER PRIMARY KEY, last_step INTEGER NOT NULL, job_id TEXT NOT NULL,
    first_file_step INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS stretches_by_job ON stretches (job_id);
CREATE TABLE IF NOT EXISTS not_applied (
    global_step INTEGER PRIMARY KEY, job_id TEXT NOT NULL, file_step INTEGER NOT NULL,
    reason TEXT NOT NULL,
    lines TEXT NOT NULL            -- JSON list of line numbers
);
CREATE TABLE IF NOT EXISTS validations (
    global_step INTEGER PRIMARY KEY, loss REAL, rows INTEGER NOT NULL,
    weights TEXT NOT NULL DEFAULT 'last',  -- whose loss it is: last, or average
    other_loss REAL                        -- of the other ones; null where they were not measured
);
CREATE TABLE IF NOT EXISTS suite_scores (
    global_step INTEGER NOT NULL, suite TEXT NOT NULL,
    difficulty TEXT NOT NULL,      -- empty for all rows together
    rows INTEGER NOT NULL, loss REAL, exact_match REAL NOT NULL,
    metrics TEXT NOT NULL,         -- JSON, as the data profile measures
    PRIMARY KEY (global_step, suite, difficulty)
);
CREATE TABLE IF NOT EXISTS suite_questions (
    id INTEGER PRIMARY KEY, suite TEXT NOT NULL, prompt TEXT NOT NULL, expected TEXT NOT NULL,
    difficulty TEXT NOT NULL,      -- empty where it has none
    UNIQUE (suite, prompt, expected, difficulty)
);
CREATE TABLE IF NOT EXISTS suite_answers (
    global_step INTEGER NOT NULL, question INTEGER NOT NULL REFERENCES suite_questions,
    text TEXT NOT NULL, is_right INTEGER NOT NULL,
    PRIMARY KEY (question, global_step)
);
CREATE TABLE IF NOT EXISTS previews (
    global_step INTEGER NOT NULL, prompt TEXT NOT NULL, text TEXT NOT NULL,
    ended_by TEXT NOT NULL,        -- end, tokens, time
    seconds REAL NOT NULL,
    metrics TEXT NOT NULL,         -- JSON, as the data profile measures
    PRIMARY KEY (global_step, prompt)
);
CREATE TABLE IF NOT EXISTS branches (  -- the model went back to an earlier step
    number INTEGER PRIMARY KEY, from_branch INTEGER NOT NULL, from_step INTEGER NOT NULL,
    left_step INTEGER NOT NULL, at TEXT NOT NULL, why TEXT NOT NULL, reason TEXT NOT NULL,
    jobs TEXT NOT NULL,            -- JSON; what becomes of the files that are concerned
    is_followed INTEGER NOT NULL   -- 1 once they are where they belong
);
CREATE TABLE IF NOT EXISTS gate_verdicts (  -- on branch `branch`; created where it is missing
    branch INTEGER NOT NULL, global_step INTEGER NOT NULL, from_step INTEGER NOT NULL,
    at TEXT NOT NULL, outcome TEXT NOT NULL,
    jobs TEXT NOT NULL,            -- JSON list of the ids of the jobs that were judged
    verdict TEXT NOT NULL,         -- JSON, with all numbers
    PRIMARY KEY (branch, global_step, from_step)
);
-- What it did on branches that are no part of its present state, by the branch
CREATE TABLE IF NOT EXISTS left_steps AS SELECT 0 AS branch, * FROM steps WHERE 0;
CREATE TABLE IF NOT EXISTS left_not_applied AS SELECT 0 AS branch, * FROM not_applied WHERE 0;
CREATE TABLE IF NOT EXISTS left_stretches AS SELECT 0 AS branch, * FROM stretches WHERE 0;
CREATE TABLE IF NOT EXISTS left_validations AS SELECT 0 AS branch, * FROM validations WHERE 0;
CREATE TABLE IF NOT EXISTS left_suite_scores AS SELECT 0 AS branch, * FROM suite_scores WHERE 0;
CREATE TABLE IF NOT EXISTS left_suite_answers AS SELECT 0 AS branch, * FROM suite_answers WHERE 0;
CREATE TABLE IF NOT EXISTS left_previews AS SELECT 0 AS branch, * FROM previews WHERE 0;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, job_id TEXT, message TEXT NOT NULL,
    data TEXT NOT NULL DEFAULT '{}',  -- JSON; the facts, as docs/EVENTS.md lists them
    level TEXT                        -- info, warning, error; null for events of older releases
);
CREATE TABLE IF NOT EXISTS crashes (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL,
    kind TEXT NOT NULL,            -- why the worker ended
    job_id TEXT, display TEXT,     -- the file it had, if it had one
    global_step INTEGER, file_step INTEGER,
    message TEXT NOT NULL, details TEXT
);
CREATE VIEW IF NOT EXISTS deaths AS SELECT * FROM crashes;  -- the name until version 5
CREATE TABLE IF NOT EXISTS identity (ledger TEXT NOT NULL);  -- tells followers that it was started anew
INSERT INTO identity SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM identity);
"""
# By the version that they lead away from. 2 came with preemption, 3 with replay, 4 with formats, suites and
# previews, 5 with the journal, 6 with stretches and branches, 7 with averaged weights, 8 with the time
# that a step waits; tables are created where they are missing
MIGRATIONS = {
    1: """
ALTER TABLE jobs ADD COLUMN began INTEGER;
ALTER TABLE jobs ADD COLUMN micro_batch_tokens INTEGER;
ALTER TABLE jobs ADD COLUMN left_out TEXT;
""",
    2: """
ALTER TABLE jobs ADD COLUMN replayed TEXT;
ALTER TABLE steps ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
""",
    3: """
ALTER TABLE jobs ADD COLUMN format TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
""",
    4: """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, job_id TEXT, message TEXT NOT NULL
);
ALTER TABLE events ADD COLUMN data TEXT NOT NULL DEFAULT '{}';
ALTER TABLE events ADD COLUMN level TEXT;
CREATE TABLE IF NOT EXISTS deaths (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, job_id TEXT, display TEXT,
    global_step INTEGER, file_step INTEGER, message TEXT NOT NULL, details TEXT
);
ALTER TABLE deaths RENAME TO crashes;
""",
    5: """
CREATE TABLE IF NOT EXISTS stretches (
    first_step INTEGER PRIMARY KEY, last_step INTEGER NOT NULL, job_id TEXT NOT NULL,
    first_file_step INTEGER NOT NULL
);
INSERT OR IGNORE INTO stretches """
    + STRETCHES_IN_STEPS
    + ";",
    6: """
CREATE TABLE IF NOT EXISTS validations (global_step INTEGER PRIMARY KEY, loss REAL, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS left_validations AS SELECT 0 AS branch, * FROM validations WHERE 0;
ALTER TABLE validations ADD COLUMN weights TEXT NOT NULL DEFAULT 'last';
ALTER TABLE validations ADD COLUMN other_loss REAL;
ALTER TABLE left_validations ADD COLUMN weights TEXT NOT NULL DEFAULT 'last';
ALTER TABLE left_validations ADD COLUMN other_loss REAL;
""",
    7: """
CREATE TABLE IF NOT EXISTS left_steps AS SELECT 0 AS branch, * FROM steps WHERE 0;
ALTER TABLE steps ADD COLUMN waited_s REAL;
ALTER TABLE left_steps ADD COLUMN waited_s REAL;
""",
}


class DamagedLedger(sqlite3.DatabaseError):
    """The file is an SQLite file, but its pages do not fit together."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class UnusableLedger(RuntimeError):
    """The ledger is whole but cannot be used: another release wrote it, or another process holds it."""


class Database:
    """A connection that forgets nothing it has once accepted.

    When the disk is full or fails, SQLite takes back everything since the last commit. So it is kept here
    until the commit has succeeded, and done again if need be.

    Args:
        connection: at no transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._since_commit: list[tuple[str, tuple[Parameters, ...]]] = []
        self._is_taken_back = False

    def read(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run a statement that changes nothing."""
        self._do_again()
        return self._connection.execute(sql, parameters)

    def write(self, sql: str, *parameters: Parameters) -> None:
        """Run a statement that changes something, once for each of `parameters` (and not at all for none).

        One that fails is not remembered: whoever wanted it knows.
        """
        self._do_again()
        with self._noticing_rollback():
            self._connection.executemany(sql, parameters)
        self._since_commit.append((sql, parameters))

    def commit(self) -> None:
        """Make everything since the last commit durable. After a failure it can be tried again."""
        self._do_again()
        with self._noticing_rollback():
            self._connection.commit()
        self._since_commit.clear()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _do_again(self) -> None:
        if not self._is_taken_back:
            return
        with self._noticing_rollback():
            for sql, parameters in self._since_commit:
                self._connection.executemany(sql, parameters)
        self._is_taken_back = False

    @contextmanager
    def _noticing_rollback(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error:
            # What is left of a half-done transaction would be doubled when all of it is done again
            self._connection.rollback()
            self._is_taken_back = True
            raise


def open_ledger(path: Path) -> Database:
    """Return the ledger in `path`: created, brought up to date, or started anew beside a damaged one.

    Raises:
        UnusableLedger: it is whole, but not to be used.
    """
    return Database(_open(path))


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in DAMAGED:
            raise UnusableLedger(f"{path}: {error}; close what holds it or make it accessible") from error
        # Everything in it that matters can be had from folders and checkpoints; the damaged file is kept
        aside = path.with_name(f"{path.name}.corrupt-{os.stat(path).st_mtime_ns}")
        os.rename(path, aside)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        if (log := path.with_name(path.name + "-wal")).exists():
            os.rename(log, aside.with_name(aside.name + "-wal"))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
    try:
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        _bring_up_to_date(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _bring_up_to_date(database: sqlite3.Connection, path: Path) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, *MIGRATIONS, SCHEMA_VERSION):
        raise UnusableLedger(
            f"{path}: schema version is {version}; expected {SCHEMA_VERSION}; use the release that wrote it"
        )
    [health] = database.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise DamagedLedger(health)
    migration = "".join(text for before, text in MIGRATIONS.items() if 0 < version <= before)
    # In one transaction: a column that is there already could not be added again after a crash. Immediate:
    # one that reads before it writes gives up at once where another process has the lock, instead of waiting
    database.executescript(f"BEGIN IMMEDIATE;{migration}{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
