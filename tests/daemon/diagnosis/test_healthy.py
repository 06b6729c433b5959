"""What is healthy is not called ill, and what cannot be known is said."""

import pytest

from daemon.client import Client
from daemon.diagnosis.findings import Illness
from tests.daemon.diagnosis.healthy_runs import healthy_run
from tests.daemon.diagnosis.made_runs import MadeRun
from trainer.protocol.manifest import Branch


def diagnosis_of(layout):
    return Client(layout.base).health.diagnose()


def examined(layout):
    return {item.illness: item for item in diagnosis_of(layout).examined}


@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_found_in_a_healthy_training(layout, seed):
    healthy_run(layout, seed)

    diagnosis = diagnosis_of(layout)

    assert [(found.illness, found.seen) for found in diagnosis.findings] == []
    assert [item.illness for item in diagnosis.examined] == list(Illness)


def test_where_nothing_was_trained_there_is_not_enough_of_anything(layout):
    found = examined(layout)

    assert {item.result for item in found.values()} == {"not enough data"}
    assert found[Illness.OVERFITTING].missing == "no validation file is set (validation.file)"
    assert all(item.missing and item.read is None for item in found.values())


def test_steps_that_were_undone_do_not_count(layout):
    """The losses of a branch that the model has left had leaps."""
    run = MadeRun(layout, 1, training={"warmup_steps": 10})
    job = run.file()
    run.train(job, run.falling(400))
    run.ledger.commit()
    leaping = run.falling(400, first=400)
    for place in range(50, 400, 50):
        leaping[place] *= 5
    run.train(job, leaping)
    run.ledger.commit()
    assert [found.illness for found in diagnosis_of(layout).findings] == [Illness.SPIKES]

    branch = Branch(
        number=1, from_branch=0, from_step=400, left_step=800, at="now", why="rollback", reason="", jobs=()
    )
    run.ledger.branches.begin(branch, [branch])
    run.step = run.taken[job.id] = 400
    run.train(job, run.falling(400, first=400))
    run.end()

    assert diagnosis_of(layout).findings == ()


def test_two_leaps_are_rows_and_not_an_illness(layout):
    run = MadeRun(layout, 1)
    losses = run.falling(800)
    losses[300] *= 5
    losses[600] *= 5
    run.train(run.file(), losses)
    run.end()

    assert examined(layout)[Illness.SPIKES].result == "nothing"


def test_a_harder_file_is_no_leap(layout):
    run = MadeRun(layout, 1)
    for number in range(8):
        run.train(run.file(), [run.noisy(4.0 if number % 2 else 0.8, 0.05) for _ in range(60)])
    run.end()

    assert diagnosis_of(layout).findings == ()


def test_a_validation_loss_that_rises_with_a_new_file_is_not_overfitting(layout):
    """That is forgetting: the new file is of another kind."""
    run = MadeRun(layout, 1, validation={"file": "v.jsonl"})
    run.train(run.file(), run.falling(400), each=lambda n: n % 40 or run.validate(2.0 - n / 800))
    run.train(run.file(), run.falling(400), each=lambda n: n % 40 or run.validate(1.5 + n / 800))
    run.end()

    assert examined(layout)[Illness.OVERFITTING].result == "nothing"


def test_a_flat_loss_of_rows_seen_once_is_not_called_a_plateau(layout):
    run = MadeRun(layout, 1)
    run.train(run.file(), [run.noisy(1.2, 0.1) for _ in range(2500)])
    run.end()

    assert diagnosis_of(layout).findings == ()


def test_a_symptom_is_not_named_besides_its_illness(layout):
    """A rate that is too high leaves the loss where it is no plateau's fault."""
    run = MadeRun(layout, 1, training={"epochs": 4, "warmup_steps": 0})
    losses = [run.noisy(2.0, 0.02) for _ in range(5)] + [run.noisy(8.0, 0.1) for _ in range(1395)]
    run.train(run.file(rows=350 * 8), losses)
    run.end()

    assert [found.illness for found in diagnosis_of(layout).findings] == [Illness.RATE_TOO_HIGH]
    assert examined(layout)[Illness.PLATEAU].read == "what learning rate too high explains"


def test_a_rate_that_was_raised_since_is_not_too_low_any_more(layout):
    run = MadeRun(layout, 1, training={"learning_rate": 1e-5, "warmup_steps": 0})
    slow = [run.noisy(3.0 - 0.2 * number / 1000, 0.01) for number in range(1000)]
    run.train(run.file(), slow, norms=[run.noisy(2.0, 0.2) for _ in slow])
    run.ledger.commit()
    assert [found.illness for found in diagnosis_of(layout).findings] == [Illness.RATE_TOO_LOW]

    run.sections["training"]["learning_rate"] = 1e-4
    run.train(run.file(), run.falling(50))
    run.end()

    assert diagnosis_of(layout).findings == ()


def test_one_long_wait_is_not_slow_input(layout):
    run = MadeRun(layout, 1)
    job = run.file()
    run.train(job, run.falling(200))
    run.train(job, run.falling(1), waits=1000.0)
    run.train(job, run.falling(200))
    run.end()

    assert examined(layout)[Illness.SLOW_INPUT].result == "nothing"


def test_overfitting_names_the_pass_that_was_best_and_how_far_to_go_back(layout):
    run = MadeRun(layout, 1, training={"epochs": 10}, validation={"file": "v.jsonl"})
    job = run.file(rows=50 * 8)  # 50 steps each pass
    run.train(
        job,
        [run.noisy(2.0 - number / 300, 0.02) for number in range(500)],
        each=lambda n: n % 10 or run.validate(1.0 + abs(n - 200) / 200, sigma=0.001),
    )
    run.end()

    [finding] = diagnosis_of(layout).findings

    epochs, back = finding.changes
    assert (epochs.setting, epochs.now, epochs.suggested) == ("training.epochs", 10, 4)
    assert back.command == "training_models rollback --steps 299 --dry-run"
    assert finding.cost.value == 290  # from the best validation, at step 201, to the newest
