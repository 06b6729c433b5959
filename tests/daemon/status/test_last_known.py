"""The status shows the model of the newest checkpoint, and nothing of one that it went back from."""

import json

import pytest

from daemon.status.board import StatusBoard
from daemon.status.last_known import show_model
from tests.health import publish
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import Score, StepReport, SuiteScored, Validated


def step(number, loss):
    return StepReport(
        global_step=number, job_id="j", file_step=number, rows=4, tokens=100, supervised_tokens=50, loss=loss,
        learning_rate=1e-4 * number, grad_norm=float(number), seconds=0.5,
    )  # fmt: skip


def test_nothing_is_shown_of_a_model_that_was_left(layout, ledger):
    board = StatusBoard(layout.status_file, daemon_pid=1)
    ledger.add_steps([step(3, 0.34), step(6, 3.79)])
    board.steps((step(6, 3.79),))
    board.validated(Validated(global_step=6, loss=5.6, rows=20))
    board.suite_scored(
        SuiteScored(global_step=6, suite="sums", overall=Score(rows=2, loss=1.0, exact_match=0.5))
    )
    publish(layout, 1, progress=Progress(global_step=3, validation_loss=1.34))
    ledger.rewind(3)

    show_model(board, layout, ledger.measured_at)

    board.publish()
    shown = json.loads(layout.status_file.read_bytes())
    names = ("current_step", "loss", "learning_rate", "grad_norm", "validation_loss", "val_train_gap")
    assert [shown[name] for name in names] == [3, 0.34, 1e-4 * 3, 3.0, 1.34, 1.0]
    assert shown["suite_scores"] == {}


@pytest.mark.parametrize(
    "facts, expected",
    [
        ({"validation_weights": "average", "validation_other_loss": 1.5}, (1.25, "average", 1.5)),
        ({}, (1.25, None, None)),  # of an earlier release
    ],
)
def test_a_daemon_that_starts_knows_whose_the_validation_loss_is(layout, ledger, facts, expected):
    board = StatusBoard(layout.status_file, daemon_pid=1)
    board.validated(Validated(global_step=6, loss=5.6, rows=20, weights="average", other_loss=5.8))
    publish(layout, 1, progress=Progress(global_step=3, validation_loss=1.25, **facts))

    show_model(board, layout, ledger.measured_at)

    board.publish()
    shown = json.loads(layout.status_file.read_bytes())
    names = ("validation_loss", "validation_weights", "validation_other_loss")
    assert tuple(shown[name] for name in names) == expected
