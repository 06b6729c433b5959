"""The deep look in a worker and in a process of its own: what was trained is recognised in the next file."""

import shutil

import pytest

from tests.support import row, rows, write_jsonl
from tests.trainer.engine_rig import settings_with, train, weights_sha256
from tests.trainer.mains.test_inspect_file import order
from trainer.data.checks.seen_rows import FILE_NAME
from trainer.mains import inspect_file as inspection
from trainer.protocol.messages import DataChecked


@pytest.fixture
def train_file(base_dir, tiny_folder, job_file):
    """Return a function that trains a file until it is remembered, and gives the lines each rule names."""

    def run(name, *, look="deep", start=0, held_out=None):
        done = base_dir / "queue" / "recently_completed"
        done.mkdir(parents=True, exist_ok=True)
        job, path = job_file(name, rows(7, start))
        settings = settings_with(tiny_folder, data={"validation": look}, validation={"file": held_out})
        engine, told = train(base_dir, settings, [(job, path)])
        shutil.copy(path, done)
        engine._index_completed(settings)
        engine._row_indexer.close()
        return [
            {finding.rule: finding.lines for finding in event.report.findings}
            for event in told.of(DataChecked)
        ]

    return run


def test_a_file_with_rows_trained_before_is_told_of_when_it_comes(train_file):
    first = train_file("a")

    second = train_file("b", start=5)

    assert [found.get("trained_before") for found in (*first, *second)] == [None, (1, 2)]


def test_a_row_of_the_validation_file_is_told_of_before_it_is_trained(train_file, base_dir):
    write_jsonl(base_dir / "held.jsonl", rows(1, 3))

    [found] = train_file("a", held_out="held.jsonl")

    assert found["held_out"] == (4,)


def test_what_is_remembered_changes_nothing_of_what_is_learned(train_file, base_dir):
    train_file("a")
    train_file("b", start=5)
    deep = weights_sha256(base_dir)
    shutil.rmtree(base_dir / "models")

    train_file("a", look="quick")
    train_file("b", start=5, look="quick")

    assert not (base_dir / "models" / FILE_NAME).exists()
    assert weights_sha256(base_dir) == deep


@pytest.mark.parametrize("deep, rules", [(True, ["repeated_rows", "email"]), (False, [])])
def test_a_file_outside_of_the_queue_is_compared_only_when_deep(base_dir, tiny_folder, tmp_path, deep, rules):
    file = write_jsonl(tmp_path / "a.jsonl", [row("Hi.", "a@example.org"), row("hi.", "a@example.org")])
    asked = order(base_dir, file, deep=deep, model=tiny_folder, private_patterns=["email"])

    report = inspection.inspect(asked, lambda text: None)

    assert [finding.rule for finding in report.findings] == rules
    assert not (base_dir / "models" / FILE_NAME).exists()
