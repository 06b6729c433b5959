"""What SQLite takes back when the disk fails is done again."""

import sqlite3

import pytest

from daemon.ledger.database import Database


class FailingConnection(sqlite3.Connection):
    """Fails as many commits as it is told, the way SQLite does on a full disk: everything is taken back."""

    failures = 0

    def commit(self) -> None:
        if self.failures:
            self.failures -= 1
            self.rollback()
            raise sqlite3.OperationalError("database or disk is full")
        super().commit()


@pytest.fixture
def connection(tmp_path):
    opened = sqlite3.connect(tmp_path / "ledger", factory=FailingConnection)
    opened.execute("CREATE TABLE notes (number INTEGER)")
    opened.commit()
    yield opened
    opened.close()


def durable(tmp_path):
    other = sqlite3.connect(tmp_path / "ledger")
    numbers = [number for (number,) in other.execute("SELECT number FROM notes ORDER BY rowid")]
    other.close()
    return numbers


@pytest.mark.parametrize("failures", [1, 2])
def test_what_a_failed_commit_has_taken_back_is_in_the_next_one(tmp_path, connection, failures):
    database = Database(connection)
    database.write("INSERT INTO notes VALUES (?)", (1,), (2,))
    connection.failures = failures
    for _ in range(failures):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            database.commit()

    database.write("INSERT INTO notes VALUES (?)", (3,))
    database.commit()

    assert durable(tmp_path) == [1, 2, 3]


def test_what_was_taken_back_is_read_as_if_it_had_not_been(connection):
    database = Database(connection)
    database.write("INSERT INTO notes VALUES (?)", (1,))
    connection.failures = 1
    with pytest.raises(sqlite3.OperationalError):
        database.commit()

    assert database.read("SELECT count(*) FROM notes").fetchone() == (1,)


def test_what_was_committed_is_not_done_again(tmp_path, connection):
    database = Database(connection)
    database.write("INSERT INTO notes VALUES (?)", (1,))
    database.commit()
    database.write("INSERT INTO notes VALUES (?)", (2,))
    connection.failures = 1
    with pytest.raises(sqlite3.OperationalError):
        database.commit()
    database.commit()

    assert durable(tmp_path) == [1, 2]


def test_a_statement_for_no_parameters_changes_nothing(tmp_path, connection):
    database = Database(connection)

    database.write("INSERT INTO notes VALUES (?)")
    database.commit()

    assert durable(tmp_path) == []
