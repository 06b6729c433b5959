"""Curves from the ledger: of every metric, of one file, of the newest steps; what each point stands for."""

import pytest

from daemon.client.curves import CurvePoint, Metric
from daemon.client.errors import NoSuchFile
from tests.daemon.client.test_history import add_job, add_steps
from trainer.protocol.messages import StepReport, Validated


def ranges(curve):
    """Return the first step, and the least and the greatest value of each point."""
    return [(point.first_step, point.low, point.high) for point in curve.points]


def test_each_point_has_the_least_the_mean_and_the_greatest_value_of_its_steps(client, ledger):
    add_steps(ledger, [3.0, 1.0, 2.0, 0.5, 0.25])

    curve = client.history.curve(Metric.LOSS, max_points=2)

    assert curve.points == [
        CurvePoint(first_step=1, last_step=3, low=1.0, mean=2.0, high=3.0),
        CurvePoint(first_step=4, last_step=5, low=0.25, mean=0.375, high=0.5),
    ]


@pytest.mark.parametrize(
    "metric, expected",
    [
        (Metric.LOSS, (1.0, 2.0, 3.0)),
        (Metric.LR, (0.1, 0.2, 0.3)),
        (Metric.GRAD_NORM, (4.0, 5.0, 6.0)),
        (Metric.TOKENS_PER_SEC, (100.0, 160.0, 400.0)),  # 500 tokens in 3.125 seconds, not the mean of speeds
    ],
)
def test_every_metric_of_the_steps_has_a_curve(client, ledger, metric, expected):
    facts = [(1.0, 0.1, 4.0, 200, 2.0), (3.0, 0.3, 6.0, 200, 0.5), (2.0, 0.2, 5.0, 100, 0.625)]
    ledger.add_steps(
        [
            StepReport(
                global_step=number, job_id="1", file_step=number, rows=1, tokens=tokens, supervised_tokens=1,
                loss=loss, learning_rate=rate, grad_norm=norm, seconds=seconds,
            )
            for number, (loss, rate, norm, tokens, seconds) in enumerate(facts, start=1)
        ]
    )  # fmt: skip
    ledger.commit()

    [point] = client.history.curve(metric, max_points=1).points

    assert (point.low, point.mean, point.high) == pytest.approx(expected)


def test_only_the_newest_steps_are_shown_if_wished(client, ledger):
    add_steps(ledger, [5.0, 4.0, 3.0, 2.0])

    assert ranges(client.history.curve(Metric.LOSS, last=2)) == [(3, 3.0, 3.0), (4, 2.0, 2.0)]


def test_a_file_has_a_curve_of_its_own_whose_steps_count_in_the_models_life(client, ledger, layout):
    first, second = add_job(ledger, layout, 1), add_job(ledger, layout, 2)
    add_steps(ledger, [5.0, 4.0], job_id=first.id)
    add_steps(ledger, [3.0, 2.0, 1.0], job_id=second.id, first=3)

    whole = client.history.curve(Metric.LOSS, file="2.jsonl")
    newest = client.history.curve(Metric.LOSS, file=second.id, last=1)

    assert (whole.file, ranges(whole)) == ("2.jsonl", [(3, 3.0, 3.0), (4, 2.0, 2.0), (5, 1.0, 1.0)])
    assert ranges(newest) == [(5, 1.0, 1.0)]


def test_a_file_that_nobody_knows_is_refused(client, ledger):
    with pytest.raises(NoSuchFile, match=r"the ledger knows no file named x\.jsonl"):
        client.history.curve(Metric.LOSS, file="x.jsonl")


def test_losses_that_were_no_finite_number_are_left_out(client, ledger):
    add_steps(ledger, [2.0, None, 1.0])
    for step, loss in ((1, 3.0), (2, None)):
        ledger.add_validation(Validated(global_step=step, loss=loss, rows=2))
    ledger.commit()

    assert ranges(client.history.curve(Metric.LOSS)) == [(1, 2.0, 2.0), (3, 1.0, 1.0)]
    assert ranges(client.history.curve(Metric.VALIDATION)) == [(1, 3.0, 3.0)]


# ---- validation


def add_validations(ledger, losses):
    for step, loss in enumerate(losses, start=1):
        ledger.add_validation(Validated(global_step=step, loss=loss, rows=2))
    ledger.commit()


def test_validation_losses_are_summed_up_to_as_many_points_as_a_picture_has(client, ledger):
    add_validations(ledger, [5.0, 1.0, 4.0, 3.0, 2.0])

    assert ranges(client.history.curve(Metric.VALIDATION, max_points=2)) == [(1, 1.0, 5.0), (4, 2.0, 3.0)]


def test_validations_are_read_past_the_first_page(client, ledger, monkeypatch):
    monkeypatch.setattr("daemon.client.curves.PAGE", 2)
    add_validations(ledger, [5.0, 4.0, 3.0, 2.0, 1.0])

    assert len(client.history.curve(Metric.VALIDATION).points) == 5


def test_validations_of_the_newest_steps_and_of_one_file_are_found(client, ledger, layout):
    add_validations(ledger, [5.0, 4.0, 3.0, 2.0, 1.0])
    job = add_job(ledger, layout, 1)
    add_steps(ledger, [1.0, 1.0], job_id=job.id, first=2)

    assert ranges(client.history.curve(Metric.VALIDATION, last=2)) == [(4, 2.0, 2.0), (5, 1.0, 1.0)]
    assert ranges(client.history.curve(Metric.VALIDATION, file="1.jsonl")) == [(2, 4.0, 4.0), (3, 3.0, 3.0)]


def test_a_curve_is_of_the_weights_of_the_newest_validation(client, ledger):
    averaged = {"weights": "average"}
    for step, loss, whose in (
        (1, 5.0, {}),
        (2, 4.0, {"other_loss": 3.5}),
        (3, 3.0, averaged | {"other_loss": 3.25}),
        (4, 2.0, averaged),
    ):
        ledger.add_validation(Validated(global_step=step, loss=loss, rows=2, **whose))
    ledger.commit()

    of_average = client.history.curve(Metric.VALIDATION)
    ledger.add_validation(Validated(global_step=5, loss=1.0, rows=2))
    ledger.commit()
    of_last = client.history.curve(Metric.VALIDATION)

    assert ranges(of_average) == [(2, 3.5, 3.5), (3, 3.0, 3.0), (4, 2.0, 2.0)]
    assert (of_average.weights, of_average.left_out) == ("average", 1)
    assert ranges(of_last) == [(1, 5.0, 5.0), (2, 4.0, 4.0), (3, 3.25, 3.25), (5, 1.0, 1.0)]
    assert (of_last.weights, of_last.left_out) == ("last", 1)


@pytest.mark.parametrize("metric", Metric)
def test_where_nothing_was_trained_a_curve_has_no_points(client, metric):
    assert client.history.curve(metric).points == []
