"""Rows trained before: what is found of them, what is forgotten, and what no crash or damage can do to it."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.trainer.row_texts import answer, minhashed, minhashes, words
from trainer.data.checks.row_table import Match, RowTable
from trainer.data.checks.seen_rows import FILE_NAME, FILES_REMEMBERED, SeenRows, UnusableSeenRows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seen_rows.sqlite3"


def add(path, sha256, rows, *, max_rows=1000, name="chat.jsonl"):
    with SeenRows.open(path) as seen:
        return seen.add(sha256, name, rows, max_rows=max_rows)


def found_in(path, rows):
    with SeenRows.open_for_reading(path) as seen:
        return [seen.find(row) for row in rows]


def num_bands(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM bands").fetchone()[0]


# ---- finding


def test_the_same_row_is_found_with_its_file_and_line(path):
    add(path, "a", minhashes(3))

    [match] = found_in(path, [minhashed(answer(words(40, 2)), 77)])

    assert match == Match(77, "chat.jsonl", 2, 1.0, is_exact=True)


def test_a_row_with_a_word_changed_is_found_as_near(path):
    text = words(100, 1)
    add(path, "a", [*minhashes(3), minhashed(answer(text), 4)])

    [match] = found_in(path, [minhashed(answer([*text[:50], "another", *text[51:]]), 9)])

    assert (match.line, match.other_line, match.is_exact) == (9, 4, False)
    assert 0.8 <= match.similarity < 1


def test_a_different_row_is_not_found(path):
    add(path, "a", minhashes(300))

    assert found_in(path, minhashes(300, seed=1)) == [None] * 300


def test_the_oldest_of_equal_rows_is_found(path):
    add(path, "a", minhashes(2), name="old.jsonl")
    add(path, "b", minhashes(2), name="new.jsonl")

    assert [match.other_file for match in found_in(path, minhashes(2))] == ["old.jsonl", "old.jsonl"]


def test_of_several_near_rows_the_most_similar_is_found(path):
    text = words(200, 1)
    worse, better = [*text[:190], *words(10, 2)], [*text[:199], "another"]
    add(path, "a", [minhashed(answer(worse), 1), minhashed(answer(better), 2)])

    [match] = found_in(path, [minhashed(answer(text))])

    assert match.other_line == 2


def test_rows_without_words_are_the_same_and_near_to_none(path):
    add(path, "a", [minhashed(answer(" "), 1)])

    same, other = found_in(path, [minhashed(answer("\n")), minhashed(answer("word", question=" "))])

    assert same is not None
    assert other is None


def test_a_pattern_of_many_rows_takes_a_few_places_of_each_band_only():
    """Else each of them would be compared with all."""
    text = words(200, 1)
    with closing(RowTable.temporary()) as table:
        rows = [minhashed(answer([*text[:-1], "x" * line]), line) for line in range(1, 301)]
        table.insert(table.new_file("a", "a.jsonl"), rows)

        [most] = table._database.execute("SELECT max(n) FROM (SELECT count(*) n FROM bands GROUP BY key)")

        assert most[0] == 4
        assert table.find(minhashed(answer(text))) is not None


# ---- adding


def test_a_file_is_added_once(path):
    assert [add(path, "a", minhashes(3)), add(path, "a", minhashes(3))] == [3, 0]

    with SeenRows.open(path) as seen:
        assert seen.num_rows == 3


def test_the_oldest_files_make_room(path):
    for seed, sha256 in enumerate("abc"):
        add(path, sha256, minhashes(10, seed=seed), max_rows=25)

    with SeenRows.open(path) as seen:
        assert seen.num_rows == 20
        assert [bool(seen.find(minhashes(1, seed=seed)[0])) for seed in range(3)] == [False, True, True]
    assert num_bands(path) == 20 * 16


def test_a_file_that_made_room_does_not_come_back_as_new(path):
    add(path, "a", minhashes(10), max_rows=10)
    add(path, "b", minhashes(10, seed=1), max_rows=10)

    assert add(path, "a", minhashes(10), max_rows=10) == 0


def test_of_a_file_longer_than_the_limit_the_first_rows_are_kept(path):
    add(path, "a", minhashes(5), max_rows=20)

    add(path, "b", minhashes(50, seed=1), max_rows=20)

    with SeenRows.open(path) as seen:
        assert seen.num_rows == 20
        assert [bool(seen.find(row)) for row in minhashes(21, seed=1)] == [True] * 20 + [False]


def test_names_of_files_long_gone_are_forgotten(path, monkeypatch):
    monkeypatch.setattr("trainer.data.checks.seen_rows.FILES_REMEMBERED", 2)
    for seed, sha256 in enumerate("abcde"):
        add(path, sha256, minhashes(1, seed=seed), max_rows=1)

    with SeenRows.open(path) as seen:
        assert [seen.knows(sha256) for sha256 in "abcde"] == [False, False, True, True, True]
    assert FILES_REMEMBERED > 2_000  # more than a checkpoint tells of, or they would be added again


def test_a_name_is_made_printable(path):
    add(path, "a", minhashes(1), name="a\x1b[2J\udcff.jsonl")

    [match] = found_in(path, minhashes(1))

    assert match.other_file == "a\\x1b[2J\\xff.jsonl"


# ---- crashes and damage


def test_a_crash_between_two_inserts_leaves_the_file_out_and_the_next_try_adds_it(path):
    add(path, "a", minhashes(3))
    code = (
        "import os, signal, sys; from itertools import chain; from pathlib import Path\n"
        "from tests.trainer.row_texts import minhashes; from trainer.data.checks.seen_rows import SeenRows\n"
        "def rows():\n"
        "    yield from minhashes(2500, seed=1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "SeenRows.open(Path(sys.argv[1])).add('b', 'b.jsonl', rows(), max_rows=9999)\n"
    )

    killed = subprocess.run([sys.executable, "-c", code, path], check=False, env=os.environ)

    assert killed.returncode == -signal.SIGKILL
    with SeenRows.open(path) as seen:
        assert (seen.notice, seen.num_rows, seen.knows("b")) == (None, 3, False)
        assert seen.add("b", "b.jsonl", minhashes(2500, seed=1), max_rows=9999) == 2500


def test_an_error_between_two_inserts_leaves_the_file_out(path):
    def torn():
        yield from minhashes(2500)
        raise OSError("the file went away")

    with pytest.raises(OSError, match="went away"):
        add(path, "a", torn(), max_rows=9999)

    with SeenRows.open(path) as seen:
        assert (seen.num_rows, seen.knows("a")) == (0, False)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_index_is_quarantined_and_a_new_one_is_started(path, content):
    path.write_bytes(content)

    with SeenRows.open(path) as seen:
        seen.add("a", "a.jsonl", minhashes(1), max_rows=10)

        assert "was quarantined as seen_rows.sqlite3.corrupt" in seen.notice
    assert path.with_name("seen_rows.sqlite3.corrupt").read_bytes() == content
    assert found_in(path, minhashes(1))[0] is not None


def test_pages_that_do_not_fit_together_are_noticed_when_it_is_opened(path):
    add(path, "a", minhashes(500))
    spoiled = bytearray(path.read_bytes())
    for page in range(2, len(spoiled) // 4096):
        spoiled[page * 4096 : page * 4096 + 100] = b"\xaa" * 100
    path.write_bytes(spoiled)

    for open_it in (SeenRows.open_for_reading, SeenRows.open):
        with open_it(path) as seen:
            assert (seen.num_rows, seen.notice is None) == (0, False)


def test_an_index_of_another_release_is_quarantined(path):
    add(path, "a", minhashes(1))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")

    with SeenRows.open(path) as seen:
        assert "version is 99; expected 2; it was quarantined" in seen.notice


def test_a_reader_leaves_a_damaged_index_as_it_is(path):
    path.write_bytes(b"no database at all" * 100)

    with SeenRows.open_for_reading(path) as seen:
        assert seen.find(minhashes(1)[0]) is None
        assert "not a database; expected the rows trained before; until the next file" in seen.notice

    assert path.read_bytes() == b"no database at all" * 100


def test_what_cannot_be_opened_is_not_taken_for_damaged(path):
    path.mkdir()

    with pytest.raises(UnusableSeenRows, match="unable to open database file"):
        SeenRows.open(path)

    assert path.is_dir()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()])
def test_there_is_nothing_to_read_before_something_was_added(path, make):
    make(path)

    with SeenRows.open_for_reading(path) as seen:
        assert (seen.find(minhashes(1)[0]), seen.notice) == (None, None)


def test_a_reader_goes_on_while_a_file_is_being_added(path):
    add(path, "a", minhashes(1))

    def rows():
        assert found_in(path, minhashes(1))[0] is not None
        yield from minhashes(5, seed=1)

    assert add(path, "b", rows()) == 5


def test_a_full_disk_leaves_the_file_out(path):
    with SeenRows.open(path) as seen:
        seen._database.execute("PRAGMA max_page_count=1")  # SQLite's own word for a full disk

        with pytest.raises(sqlite3.OperationalError, match="full"):
            seen.add("a", "a.jsonl", minhashes(2000), max_rows=9999)

        assert (seen.num_rows, seen.knows("a")) == (0, False)


def test_an_index_of_the_first_version_still_recognises_the_same_rows(tmp_path):
    path = tmp_path / FILE_NAME
    with SeenRows.open(path) as index:
        index.add("a", "old.jsonl", minhashes(3), max_rows=10)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=1")

    for opened in (SeenRows.open_for_reading, SeenRows.open):
        with opened(path) as index:
            assert index.notice is None
            assert index.find(minhashes(2)[1]).is_exact
