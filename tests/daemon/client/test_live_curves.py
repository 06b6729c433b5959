"""Curves that are drawn again and again: their axes, their validation losses, and their marks."""

import pytest

from daemon.client.curves import Axis, Metric
from daemon.client.errors import NoSuchFile
from tests.daemon.client.test_history import add_job, add_steps
from tests.daemon.ledger.entries import step
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import Validated


@pytest.fixture
def two_files(layout, ledger):
    first, second = add_job(ledger, layout, 1), add_job(ledger, layout, 2)
    add_steps(ledger, [4.0, 3.0], job_id=first.id)
    add_steps(ledger, [2.0, 1.0], job_id=second.id, first=3)
    return first, second


@pytest.mark.parametrize(
    "axis, places",
    [(Axis.STEP, [1, 2, 3, 4]), (Axis.TOKENS, [10, 20, 30, 40]), (Axis.TIME, [0.5, 1.0, 1.5, 2.0])],
)
def test_a_curve_has_the_axis_that_is_wanted(client, two_files, axis, places):
    curve = client.curves.curve(Metric.LOSS, axis=axis)

    assert (curve.x, curve.mean, curve.newest_step) == (places, [4.0, 3.0, 2.0, 1.0], 4)
    assert client.curves.curve(Metric.LOSS, axis=axis, first=3, last=3).x == [places[2]]


def test_the_curve_of_a_file_counts_from_its_own_beginning(client, two_files):
    by_name = client.curves.curve(Metric.LOSS, file="2.jsonl", axis=Axis.TOKENS)

    assert (by_name.file, by_name.x, by_name.first_step) == ("2.jsonl", [10, 20], [3, 4])
    assert client.curves.curve(Metric.LOSS, file=two_files[1].id).first_step == [3, 4]
    with pytest.raises(NoSuchFile, match="training_queue history"):
        client.curves.curve(Metric.LOSS, file="x.jsonl")


def test_validation_losses_say_whose_weights_they_are_of(client, ledger, two_files):
    ledger.add_validation(Validated(global_step=0, loss=9.0, rows=5))
    ledger.add_validation(Validated(global_step=2, loss=3.5, rows=5, weights="average", other_loss=3.75))
    ledger.commit()

    curve = client.curves.curve(Metric.VALIDATION, axis=Axis.TOKENS)

    assert list(zip(curve.x, curve.mean, curve.weights, strict=True)) == [
        (0, 9.0, "last"), (20, 3.5, "average"), (20, 3.75, "last")
    ]  # fmt: skip
    assert client.curves.curve(Metric.VALIDATION, file="2.jsonl").x == []


def test_a_table_has_the_columns_that_the_metric_has(client, two_files):
    assert client.curves.curve(Metric.LOSS).column_names()[-1] == "not_finite"
    assert client.curves.curve(Metric.TOKENS_PER_SEC).column_names()[-2:] == ["tokens", "seconds"]


def test_marks_are_those_in_the_range(client, layout, ledger, two_files):
    ledger.add_steps([step(4, job_id=two_files[1].id, file_step=2, not_applied="inf", lines=(7,))])
    ledger.commit()
    (layout.models / "checkpoints" / "step-000000002").mkdir(parents=True)
    (layout.models / "checkpoints" / "step-000000009").mkdir()

    marks = client.curves.marks()

    assert [(one.step, one.file, one.file_step) for one in marks.files] == [
        (1, "1.jsonl", 1),
        (3, "2.jsonl", 1),
    ]
    assert [one.step for one in marks.checkpoints] == [2]  # of 9, the model knows nothing
    assert [(one.step, one.reason, one.lines) for one in marks.not_applied] == [(4, "inf", (7,))]
    assert marks.left_out == {}
    assert [one.step for one in client.curves.marks(first=2, last=3).files] == [3]


def test_a_way_back_is_marked_where_the_model_went_to(client, ledger, two_files):
    branch = Branch(
        number=1, from_branch=0, from_step=2, left_step=4, at="2026-01-01T00:00:00Z", why="rollback",
        reason="odd", checkpoint="step-000000002", jobs=(),
    )  # fmt: skip
    ledger.branches.begin(branch, [branch])
    ledger.commit()

    marks = client.curves.marks()

    assert [(one.step, one.left_step, one.why) for one in marks.went_back] == [(2, 4, "rollback")]
    assert client.curves.curve(Metric.LOSS).mean == [4.0, 3.0]


def test_steps_name_their_files_and_rows(client, two_files):
    rows = client.curves.trained_rows(2, 3).rows

    assert [(one.file, one.first_file_step, one.first_row, one.last_row) for one in rows] == [
        ("1.jsonl", 2, 2, 2), ("2.jsonl", 1, 1, 1)
    ]  # fmt: skip
    assert client.curves.trained_rows(1, 4, limit=1).left_out == 1


def test_where_nothing_was_trained_curves_and_marks_are_empty(client):
    for metric in Metric:
        assert client.curves.curve(metric).x == []
    assert client.curves.marks().files == []
    assert client.curves.trained_rows(1, 9).rows == []
