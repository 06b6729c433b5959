"""Where the model can go back to, and what is said where it cannot."""

import os
import shutil

import pytest
from filelock import FileLock

from daemon.checkpoints import states
from daemon.cli.models_view import rollback_lines
from daemon.client import Client
from daemon.client.errors import NoSuchFile
from daemon.client.rollback import NoWayBack, Requeue
from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.layout import Layout
from trainer.protocol.status import State

NONE_AGAIN = Requeue()


@pytest.fixture
def rollbacks(tmp_path):
    """Those of a model that was trained on a.jsonl and b.jsonl, two steps each, with two checkpoints."""
    layout = Layout(tmp_path)
    layout.create()
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for number, name in enumerate("ab"):
        job = job_for(write_jsonl(tmp_path / f"{name}.jsonl", rows(2, start=10 * number)), id=name)
        ledger.add_job(job, Identity(1, number + 1, job.size_bytes, 1), "completed")
        ledger.add_steps([step(2 * number + i, job_id=name, file_step=i) for i in (1, 2)])
    ledger.close()
    publish(layout, 1, step=2)
    publish(layout, 2, step=4)
    return Client(layout.base).rollbacks


def test_the_newest_state_from_before_a_file_is_the_target(rollbacks):
    plan = rollbacks.plan_file("b.jsonl", NONE_AGAIN)

    assert (plan.current_step, plan.target_step, plan.target) == (4, 2, "checkpoints/step-000000002-1")


def test_steps_that_no_checkpoint_has_since_their_worker_was_killed_are_not_said_to_be_undone(
    rollbacks, tmp_path
):
    ledger = Ledger(Layout(tmp_path).ledger_file, clock=FakeClock())
    ledger.add_steps([step(5, job_id="b", file_step=3)])
    ledger.close()

    plan = rollbacks.plan_file("b.jsonl", NONE_AGAIN)

    assert [(file.first_step, file.last_step) for file in plan.files] == [(3, plan.current_step)] == [(3, 4)]


def test_the_base_model_is_no_state_to_go_back_to(rollbacks):
    with pytest.raises(NoWayBack) as caught:
        rollbacks.plan_file("queue/a.jsonl", NONE_AGAIN)

    assert str(caught.value) == (
        "nothing is kept from before step 1, because the model was the base model then; to train all but one "
        "file again from there: training_models forget a.jsonl"
    )


def test_a_file_whose_first_steps_stay_is_said_to_keep_them(rollbacks, tmp_path):
    ledger = Ledger(Layout(tmp_path).ledger_file, clock=FakeClock())
    ledger.add_steps([step(5, job_id="a", file_step=3)])
    ledger.close()
    publish(Layout(tmp_path), 3, step=5)

    undone = rollbacks.plan_file("b.jsonl", NONE_AGAIN)
    again = rollbacks.plan_file("b.jsonl", Requeue(is_wanted=True))

    assert [(file.name, file.keeps_steps) for file in undone.files] == [("b.jsonl", False), ("a.jsonl", True)]
    assert not any(file.keeps_steps for file in again.files)  # one that is queued continues where they end
    assert list(rollback_lines(undone))[2] == "  a.jsonl (step 5) is undone, but not its earlier steps"


def test_while_a_file_is_being_forgotten_nothing_is_planned(rollbacks, tmp_path):
    board = StatusBoard(Layout(tmp_path).status_file, daemon_pid=os.getpid())
    board.set_state(State.TRAINING, "forgetting a.jsonl: trained again up to step 1 of 4")
    board.publish()

    with pytest.raises(NoWayBack) as caught:
        rollbacks.plan_steps(1, NONE_AGAIN)

    assert str(caught.value) == (
        "the daemon is forgetting a.jsonl: trained again up to step 1 of 4; where the model can go back to "
        "is known once that is over: training_controller status"
    )


@pytest.mark.parametrize("steps, asked", [(1, 3), (2, None)])
def test_the_plan_says_why_the_model_goes_farther_back_than_asked(rollbacks, steps, asked):
    plan = rollbacks.plan_steps(steps, NONE_AGAIN)

    lines = list(rollback_lines(plan))

    assert (plan.target_step, plan.asked_step) == (2, asked)
    assert [line for line in lines if "is not kept" in line] == (
        [
            "  step 3 itself is not kept: the model can only go back to a checkpoint or a version, and this "
            "is the newest one before it"
        ]
        if asked
        else []
    )


def test_it_cannot_go_back_by_more_steps_than_it_has(rollbacks):
    with pytest.raises(NoWayBack) as caught:
        rollbacks.plan_steps(5, NONE_AGAIN)

    assert str(caught.value) == "the model is at step 4, so it cannot go back by 5 steps; expected fewer"


def test_a_file_that_would_not_be_undone_cannot_be_left_out(rollbacks):
    with pytest.raises(NoSuchFile) as caught:
        rollbacks.plan_steps(2, Requeue(is_wanted=True, without=("b.jsonl", "c.jsonl")))

    assert str(caught.value) == (
        "--without is c.jsonl, which would not be undone; expected one of the files that would: b.jsonl"
    )


def test_a_file_is_left_out_by_its_path_too(rollbacks):
    plan = rollbacks.plan_steps(2, Requeue(is_wanted=True, without=("inbox/b.jsonl",)))

    assert [(file.name, file.fate) for file in plan.files] == [("b.jsonl", "undone")]


def test_a_command_that_acts_on_the_model_meanwhile_is_not_called_a_daemon_only(rollbacks, tmp_path):
    plan = rollbacks.plan_file("b.jsonl", NONE_AGAIN)

    with (
        FileLock(Layout(tmp_path).lock_file),
        pytest.raises(NoWayBack, match="or a command has the model go back"),
    ):
        rollbacks.carry_out(plan, reason="asked for", requeue=NONE_AGAIN)


def test_a_damaged_target_is_named_with_its_place(rollbacks, tmp_path):
    models = Client(tmp_path).models
    version, _ = models.create("step-000000002-1")
    (version.path / "MANIFEST.json").unlink()

    with pytest.raises(NoWayBack, match=r"^models/versions/v001: MANIFEST.json is missing; .*verify$"):
        rollbacks.plan_to(models.find("v001"), NONE_AGAIN)


def test_states_that_retention_removes_meanwhile_are_no_targets(rollbacks, tmp_path, monkeypatch):
    real, checkpoints = states.published, tmp_path / "models/checkpoints"

    def published(folder):
        found = real(folder)
        shutil.rmtree(checkpoints / "step-000000002-1")
        return found

    monkeypatch.setattr(states, "published", published)

    with pytest.raises(NoWayBack, match=r"^nothing is kept from before step 3;"):
        rollbacks.plan_file("b.jsonl", NONE_AGAIN)
