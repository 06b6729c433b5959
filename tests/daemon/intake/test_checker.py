"""Checks on a thread of their own: order, ends, and what is set aside."""

import hashlib
import json
import threading

import pytest

import daemon.intake.checker as module
from daemon.files.identity import identity_of
from daemon.files.notes import lists_of_content
from daemon.intake.checker import Checked, Checker, CheckOrder, NotChecked
from tests.support import PATIENCE_S, eventually, rows, write_jsonl
from trainer.data.checks.file_check import CheckCancelled, check_file
from trainer.protocol.job import Priority
from trainer.protocol.row_fields import NO_FIELDS


@pytest.fixture
def failed(tmp_path):
    (tmp_path / "failed").mkdir()
    return tmp_path / "failed"


@pytest.fixture
def checker(failed):
    checker = Checker(failed, on_result=lambda: None)
    yield checker
    checker.close()


@pytest.fixture
def gate(monkeypatch):
    """Checks that have begun wait until this is set."""
    opened = threading.Event()

    def check(path, **options):
        while not opened.wait(0.005):
            if options["is_cancelled"]():
                raise CheckCancelled
        return check_file(path, **options)

    monkeypatch.setattr(module, "check_file", check)
    yield opened
    opened.set()


def order(path, *, id="1", priority=Priority.NORMAL, max_line_bytes=10_000, fields=NO_FIELDS):
    return CheckOrder(priority.rank, id, path, priority, max_line_bytes, 1 << 30, fields)


def results(checker, number=1):
    """Return the first results, waiting for them."""
    found = []

    def enough():
        found.extend(checker.results())
        return len(found) >= number

    eventually(enough, timeout_s=PATIENCE_S, what=f"{number} results")
    return found


def test_a_file_is_checked_and_told_with_its_identity(checker, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))
    checker.submit(order(path))

    [result] = results(checker)

    assert isinstance(result, Checked)
    assert (result.check.rows, result.check.rejected_lines, result.has_changed) == (3, (), False)
    assert result.identity == identity_of(path.lstat())
    assert len(checker) == 0


def test_the_most_urgent_file_is_checked_first_and_then_the_oldest(checker, tmp_path, gate):
    names = {"first": Priority.LOW, "low": Priority.LOW, "b": Priority.NORMAL, "a": Priority.NORMAL}
    ids = {"first": "0", "low": "1", "b": "3", "a": "2"}
    for name, priority in names.items():
        checker.submit(order(write_jsonl(tmp_path / name, rows(1)), id=ids[name], priority=priority))
    checker.submit(order(write_jsonl(tmp_path / "high", rows(1)), id="9", priority=Priority.HIGH))

    gate.set()

    assert [item.order.path.name for item in results(checker, 5)] == ["first", "high", "a", "b", "low"]


def test_the_owner_is_woken_when_there_is_a_result(failed, tmp_path):
    woken = threading.Event()
    checker = Checker(failed, on_result=woken.set)

    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", rows(1))))

    assert woken.wait(PATIENCE_S)
    assert len(checker.results()) == 1
    checker.close()


def test_the_file_being_checked_is_known_until_its_result_is_taken(checker, tmp_path, gate):
    path = write_jsonl(tmp_path / "a.jsonl", rows(1))
    checker.submit(order(path))
    during = (checker.current, path in checker, len(checker))

    gate.set()
    results(checker)

    assert during == (path, True, 1)
    assert (checker.current, path in checker, len(checker)) == (None, False, 0)


def test_only_the_current_check_is_cancelled(checker, tmp_path, gate):
    for id in ("1", "2"):
        checker.submit(order(write_jsonl(tmp_path / f"{id}.jsonl", rows(1)), id=id))

    checker.cancel_current()
    [first] = results(checker)
    gate.set()
    [second] = results(checker)

    assert isinstance(first, NotChecked)
    assert isinstance(first.error, CheckCancelled)
    assert first.order.job_id == "1"
    assert isinstance(second, Checked)


def test_cancelling_while_nothing_is_checked_does_not_cancel_the_next(checker, tmp_path):
    checker.cancel_current()

    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", rows(200))))

    assert isinstance(results(checker)[0], Checked)


def test_a_check_that_is_cancelled_while_it_runs_has_no_result(checker, tmp_path, monkeypatch):
    def check_once_cancelled(path, *, is_cancelled, **options):
        eventually(is_cancelled)
        return check_file(path, is_cancelled=is_cancelled, **options)

    monkeypatch.setattr(module, "check_file", check_once_cancelled)
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))
    checker.submit(order(path))

    checker.cancel_current()

    assert isinstance(results(checker)[0], NotChecked)


def test_a_file_that_changes_while_it_is_checked_is_told_as_changed(checker, failed, tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", ["no json", *rows(2)])

    def check_and_append(path, **options):
        found = check_file(path, **options)
        with path.open("ab") as file:
            file.write(b"{}\n")
        return found

    monkeypatch.setattr(module, "check_file", check_and_append)
    checker.submit(order(path))

    [result] = results(checker)

    assert result.has_changed
    assert list(failed.iterdir()) == []


def test_a_file_that_vanished_is_told_and_the_next_is_checked(checker, tmp_path):
    checker.submit(order(tmp_path / "absent.jsonl", id="1"))
    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", rows(1)), id="2"))

    first, second = results(checker, 2)

    assert isinstance(first.error, FileNotFoundError)
    assert isinstance(second, Checked)


def test_a_link_that_took_the_place_of_a_file_is_not_followed(checker, tmp_path):
    (tmp_path / "a.jsonl").symlink_to(write_jsonl(tmp_path / "secret", rows(1)))
    checker.submit(order(tmp_path / "a.jsonl"))

    [result] = results(checker)

    assert isinstance(result, NotChecked)


def test_something_nobody_thought_of_does_not_stop_the_checks_for_ever(checker, tmp_path, monkeypatch):
    def fail(path, **options):
        raise ValueError("something nobody thought of")

    path = write_jsonl(tmp_path / "a.jsonl", rows(1))
    with monkeypatch.context() as patched:
        patched.setattr(module, "check_file", fail)
        checker.submit(order(path, id="1"))
        [first] = results(checker)
    checker.submit(order(path, id="2"))

    [second] = results(checker)

    assert isinstance(first, NotChecked)
    assert "something nobody thought of" in str(first.error)
    assert isinstance(second, Checked)


def test_closing_ends_the_running_check_and_forgets_the_others(failed, tmp_path, gate):
    checker = Checker(failed, on_result=lambda: None)
    for id in ("1", "2"):
        checker.submit(order(write_jsonl(tmp_path / f"{id}.jsonl", rows(1)), id=id))

    checker.close()

    assert len(checker.results()) == 1


# ---- rejected rows


def test_rejected_rows_are_set_aside_with_line_and_reason(checker, failed, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*rows(1), "no json", b"\xff\x00", *rows(1)])
    checker.submit(order(path))

    results(checker)

    [note] = failed.iterdir()
    found = [json.loads(line) for line in note.read_text().splitlines()]
    assert note.name == "a.jsonl.rejected.jsonl"
    assert [(item["line"], item["row"]) for item in found] == [(2, "no json"), (3, "\\xff\x00")]
    assert all(item["reason"] for item in found)


def test_the_list_of_rejected_rows_is_found_by_the_content_whatever_the_file_is_called(
    checker, failed, tmp_path
):
    path = write_jsonl(tmp_path / "a.jsonl", [*rows(1), "no json"])
    other = write_jsonl(tmp_path / "b.jsonl", [*rows(2), "no json"])
    checker.submit(order(path))
    checker.submit(order(other))

    results(checker, 2)

    found = list(lists_of_content([failed], hashlib.sha256(path.read_bytes()).hexdigest()))
    assert found == [failed / "a.jsonl.rejected.jsonl"]


def test_a_file_that_is_checked_again_gets_no_second_list_of_the_same_rows(checker, failed, tmp_path):
    for content in (["no json"], ["no json"], ["no json", "neither"], ["no json"]):
        checker.submit(order(write_jsonl(tmp_path / "a.jsonl", [*rows(1), *content])))
        results(checker)

    names = sorted(path.name for path in failed.iterdir())
    assert names == ["a-2.jsonl.rejected.jsonl", "a.jsonl.rejected.jsonl"]


def test_without_rejected_rows_there_is_no_such_file(checker, failed, tmp_path):
    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", rows(2))))

    results(checker)

    assert list(failed.iterdir()) == []


def test_a_rejected_row_is_shown_up_to_a_limit(checker, failed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_SHOWN_BYTES", 10)
    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", ["x" * 11])))

    results(checker)

    [note] = failed.iterdir()
    assert json.loads(note.read_text())["row"] == "x" * 10


def test_a_row_that_is_too_long_is_noted_without_its_content(checker, failed, tmp_path):
    checker.submit(order(write_jsonl(tmp_path / "a.jsonl", ["x" * 50]), max_line_bytes=40))

    results(checker)

    [note] = failed.iterdir()
    found = json.loads(note.read_text())
    assert found["row"] == ""
    assert "more than 40 bytes" in found["reason"]


def test_rejected_rows_of_an_earlier_file_of_that_name_stay(checker, failed, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["first"])
    checker.submit(order(path, id="1"))
    results(checker)
    write_jsonl(path, ["second"])

    checker.submit(order(path, id="2"))
    results(checker)

    assert len(list(failed.iterdir())) == 2


@pytest.mark.parametrize("name", ["漢" * 83 + ".jsonl", "\udcff" * 249 + ".jsonl"], ids=["wide", "bytes"])
def test_rejected_rows_are_set_aside_whatever_the_name(checker, failed, tmp_path, name):
    checker.submit(order(write_jsonl(tmp_path / name, ["no json", *rows(1)])))

    [result] = results(checker)

    assert isinstance(result, Checked)
    assert len(list(failed.iterdir())) == 1
