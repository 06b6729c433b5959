"""Where the model can go back to, and what is said where it cannot."""

import shutil

import pytest
from filelock import FileLock

from daemon.checkpoints import states
from daemon.client import Client
from daemon.client.errors import NoSuchFile
from daemon.client.rollback import NoWayBack, Requeue
from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import FakeClock, job_for, rows, write_jsonl
from trainer.protocol.layout import Layout

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
