"""Rows of completed files are remembered by another process, which finds them wherever they have got to."""

import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.support import rows, write_jsonl
from tests.trainer.engine_rig import settings_with, train
from trainer.config.schema import DataSettings
from trainer.data.checks.seen_rows import FILE_NAME, SeenRows
from trainer.mains import index_rows
from trainer.protocol.files import file_sha256
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.messages import Notice
from trainer.session import row_indexing
from trainer.session.row_indexing import CompletedFile, Indexed, IndexOrder, RowIndexer, run_indexing


@pytest.fixture
def folders(tmp_path):
    found = [tmp_path / "processing", tmp_path / "recently_completed"]
    for folder in found:
        folder.mkdir()
    return found


def completed(folder, number=3, *, name="chat.jsonl", as_name=None, start=0):
    """Write a file of rows and return what its checkpoint says of it."""
    path = write_jsonl(folder / (as_name or name), rows(number, start))
    return CompletedFile(name=name, sha256=file_sha256(path))


def order_for(models, folders, *files, **changes):
    facts = {
        "models": models,
        "folders": [str(folder) for folder in folders],
        "files": list(files),
        "max_rows": 1000,
        "max_line_bytes": 10_000,
        "fields": {},
    }
    return IndexOrder(**(facts | changes))


def num_rows(models):
    with SeenRows.open(models / FILE_NAME) as seen:
        return seen.num_rows


def record(file, outcome=Outcome.COMPLETED):
    return JobRecord(job_id="1", name=file.name, sha256=file.sha256, outcome=outcome, rows_trained=3, steps=1)


# ---- the process


def test_another_process_remembers_the_rows_of_files_in_both_folders(models, folders):
    files = [completed(folders[0]), completed(folders[1], 4, name="\udcff.jsonl", start=10)]

    remembered = run_indexing(order_for(models, folders, *files))

    assert remembered == Indexed(done=[file.sha256 for file in files], messages=[])
    assert num_rows(models) == 7


def test_a_file_that_got_a_number_is_found_among_others(models, folders):
    completed(folders[1], 5, start=100)
    file = completed(folders[1], as_name="chat-7.jsonl")

    remembered = index_rows.carry_out(order_for(models, folders, file))

    assert remembered.done == [file.sha256]
    assert num_rows(models) == 3


def test_a_file_that_moves_on_meanwhile_is_found_at_the_second_look(models, folders, monkeypatch):
    file = completed(folders[0])
    names = index_rows._list

    def list_and_move(listed):
        found = names(listed)
        if (folders[0] / file.name).exists():
            (folders[0] / file.name).rename(folders[1] / file.name)
        return found

    monkeypatch.setattr(index_rows, "_list", list_and_move)

    index_rows.carry_out(order_for(models, folders, file))

    assert num_rows(models) == 3


def test_a_file_that_somebody_removed_or_changed_is_not_asked_for_again(models, folders):
    gone, changed = CompletedFile(name="gone.jsonl", sha256="0" * 64), completed(folders[1])
    write_jsonl(folders[1] / changed.name, rows(3, start=50))

    remembered = index_rows.carry_out(order_for(models, folders, gone, changed))

    assert remembered == Indexed(done=[gone.sha256, changed.sha256], messages=[])
    assert num_rows(models) == 0


def test_malformed_rows_are_passed_over(models, folders):
    path = write_jsonl(folders[1] / "a.jsonl", [*rows(2), "no json", *rows(2, start=5)])

    index_rows.carry_out(order_for(models, folders, CompletedFile(name="a.jsonl", sha256=file_sha256(path))))

    assert num_rows(models) == 4


def test_rows_are_not_remembered_where_checkpoints_need_the_room(models, folders, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000))
    file = completed(folders[1])

    remembered = index_rows.carry_out(order_for(models, folders, file))

    assert remembered.done == []
    assert remembered.messages[0].startswith(
        "the rows of completed files were not indexed: 3 rows need up to "
    )
    assert "but 5,000 are free" in remembered.messages[0]
    assert num_rows(models) == 0


def test_a_damaged_index_is_told_of_and_begun_anew(models, folders):
    (models / FILE_NAME).write_bytes(b"damaged" * 1000)
    file = completed(folders[1])

    remembered = run_indexing(order_for(models, folders, file))

    assert remembered.done == [file.sha256]
    assert "it was quarantined as seen_rows.sqlite3.corrupt" in remembered.messages[0]
    assert num_rows(models) == 3


def test_an_index_that_cannot_be_opened_is_told_of_and_the_files_are_asked_for_again(models, folders):
    (models / FILE_NAME).mkdir()

    remembered = index_rows.carry_out(order_for(models, folders, completed(folders[1])))

    assert remembered.done == []
    assert "unable to open database file" in remembered.messages[0]


def test_a_process_whose_worker_is_gone_remembers_nothing(models, folders):
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()

    with pytest.raises(OSError, match=f"ended with code {-signal.SIGKILL}"):
        run_indexing(order_for(models, folders, completed(folders[1]), parent_pid=gone.pid))

    assert not (models / FILE_NAME).exists()


# ---- what the worker keeps of it


def asked_of(indexer, monkeypatch, *answers):
    orders, answers = [], iter(answers)

    def answer_next(order):
        orders.append([file.name for file in order.files])
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(row_indexing, "run_indexing", answer_next)
    return orders


def test_a_completed_file_is_given_once_and_one_that_failed_again(models, monkeypatch):
    one, two = (CompletedFile(name=name, sha256=name) for name in ("one", "two"))
    indexer = RowIndexer(models, [])
    done = Indexed(done=["one"], messages=["it is told"])
    orders = asked_of(indexer, monkeypatch, done, OSError("no memory"), Indexed(done=["two"], messages=[]))

    for _ in range(3):
        indexer.index([record(one), record(two)], DataSettings()).result()

    assert indexer.index([record(one), record(two)], DataSettings()) is None
    assert orders == [["one", "two"], ["two"], ["two"]]
    assert indexer.take_messages() == ["it is told", "no memory"]
    assert indexer.take_messages() == []


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SKIPPED])
def test_only_completed_files_are_remembered(models, outcome):
    file = CompletedFile(name="one", sha256="one")

    assert RowIndexer(models, []).index([record(file, outcome)], DataSettings()) is None


# ---- the engine


def trained(base_dir, tiny_folder, job_file, validation):
    settings = settings_with(tiny_folder, data={"validation": validation})
    job, path = job_file("a", 7)
    done = base_dir / "queue" / "recently_completed"
    done.mkdir(parents=True)
    shutil.copy(path, done)
    return train(base_dir, settings, [(job, path)])


def test_a_completed_file_is_remembered_once_a_checkpoint_has_it(base_dir, tiny_folder, job_file):
    engine, _ = trained(base_dir, tiny_folder, job_file, "deep")
    engine._row_indexer.close()

    assert num_rows(base_dir / "models") == 7


@pytest.mark.parametrize("validation", ["quick", "standard"])
def test_nothing_is_remembered_unless_the_look_is_deep(base_dir, tiny_folder, job_file, validation):
    engine, _ = trained(base_dir, tiny_folder, job_file, validation)

    assert engine._row_indexer._given == set()


def test_a_file_that_was_not_remembered_is_when_the_next_run_begins(base_dir, tiny_folder, job_file):
    trained(base_dir, tiny_folder, job_file, "standard")

    engine, _ = train(base_dir, settings_with(tiny_folder, data={"validation": "deep"}), [])
    engine._row_indexer.close()

    assert num_rows(base_dir / "models") == 7


def test_what_went_wrong_is_told_and_stops_nothing(base_dir, tiny_folder, job_file, monkeypatch):
    monkeypatch.setattr(RowIndexer, "take_messages", lambda indexer: ["the disk is full"])

    _, told = trained(base_dir, tiny_folder, job_file, "deep")

    assert Notice(key="seen rows", message="the disk is full") in told


def test_a_file_whose_rows_have_other_names_now_is_not_taken_for_one_without_rows(models, folders):
    content = [{"frage": f"q {number}", "antwort": f"answer {number}"} for number in range(3)]
    path = write_jsonl(folders[1] / "a.jsonl", content)
    file = CompletedFile(name="a.jsonl", sha256=file_sha256(path))

    index_rows.carry_out(order_for(models, folders, file))
    assert num_rows(models) == 0

    index_rows.carry_out(
        order_for(models, folders, file, fields={"prompt": "frage", "completion": "antwort"})
    )
    assert num_rows(models) == 3
