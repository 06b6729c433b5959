"""The model goes back on request: the queue and the ledger follow, whatever comes between."""

import errno
import json

import pytest

from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.job_queue import JobQueue
from tests.daemon.test_loop_recovery import failing_once
from tests.health import publish
from trainer.protocol.job import JobRecord, Outcome
from trainer.protocol.manifest import Progress


@pytest.fixture
def trained(rig):
    """A paused daemon that has trained a.jsonl and b.jsonl, with a checkpoint after each."""
    rig.start()
    for name in ("a.jsonl", "b.jsonl"):
        rig.drop(name)
        rig.until_in(Outcome.COMPLETED, name)
    rig.command("pause")
    rig.until_answered("pause")
    publish_checkpoints(rig)
    return rig


def publish_checkpoints(rig):
    records = [
        JobRecord(
            job_id=row["id"],
            name=row["display"],
            sha256=row["sha256"],
            outcome=Outcome.COMPLETED,
            rows_trained=3,
            steps=3,
        )
        for row in rig.read("SELECT * FROM jobs ORDER BY id")
    ]
    for number in (1, 2):
        progress = Progress(global_step=3 * number, finished=records[:number])
        publish(rig.layout, number, progress=progress)


def go_back(rig, target, **request):
    """Ask for it, and return the answer to this very request."""
    request_id = f"{len(rig.events())}"
    rig.command("go_back", json.dumps({"id": request_id, "target": target, "reason": "worse", **request}))

    def answer():
        shown = rig.status()["last_command"]
        return shown["result"] if shown and shown["id"] == request_id else None

    return rig.until(answer, "the answer")


def steps(rig):
    return [row["global_step"] for row in rig.read("SELECT global_step FROM steps ORDER BY global_step")]


FIRST = "checkpoints/step-000000003-1"
SECOND = "checkpoints/step-000000006-2"


def test_a_file_that_the_model_has_no_more_is_put_away_with_the_reason(trained):
    assert go_back(trained, FIRST) == "the model went from step 6 to step 3; 1 file undone"

    trained.until_in(Outcome.SKIPPED, "b.jsonl")
    note = json.loads((trained.layout.finished(Outcome.SKIPPED) / "b.jsonl.reason.json").read_bytes())
    assert "undone: the model went from step 6 to step 3 (worse); to train this file again" in note["message"]
    assert steps(trained) == [1, 2, 3]
    assert (trained.layout.models / "current_model").resolve().name == "step-000000003"
    assert len(trained.events("went_back")) == 1


def test_a_file_that_is_wanted_waits_again_and_others_do_not(trained):
    go_back(trained, FIRST, requeue=True, without=["a.jsonl"])

    assert [path.name for path in trained.layout.queue.glob("normal/*.jsonl")] == ["b.jsonl"]
    [row] = trained.read("SELECT state, settings FROM jobs WHERE display = 'b.jsonl'")
    assert (row["state"], row["settings"]) == ("waiting", None)


def test_what_the_model_returns_to_is_completed_again(trained):
    go_back(trained, FIRST)

    assert go_back(trained, SECOND) == "the model went from step 3 to step 6; 1 file in it again"

    trained.until_in(Outcome.COMPLETED, "b.jsonl")
    assert list(trained.layout.finished(Outcome.SKIPPED).iterdir()) == []
    assert steps(trained) == [1, 2, 3, 4, 5, 6]
    [row] = trained.read("SELECT state, rows_trained, steps, reason FROM jobs WHERE display = 'b.jsonl'")
    assert tuple(row) == ("completed", 3, 3, None)


def test_a_file_whose_first_steps_stay_is_put_away_with_a_reason_that_says_so(trained):
    publish(trained.layout, 3, progress=Progress(global_step=5))  # in the middle of b.jsonl
    publish(trained.layout, 4, progress=Progress(global_step=6))

    go_back(trained, "checkpoints/step-000000005-3")

    note = json.loads((trained.layout.finished(Outcome.SKIPPED) / "b.jsonl.reason.json").read_bytes())
    assert (
        "undone: the model went from step 6 to step 5, and keeps its first steps (worse)" in note["message"]
    )


def test_a_file_that_was_skipped_is_skipped_again_when_the_model_returns_to_it(trained):
    [first, last] = trained.read("SELECT id, display AS name, sha256 FROM jobs ORDER BY id")
    ended = {"outcome": "completed", "rows_trained": 3, "steps": 3}
    skipped = {"outcome": "skipped", "message": "skipped on request", "rows_trained": 1, "steps": 3}
    records = [
        JobRecord(job_id=job["id"], name=job["name"], sha256=job["sha256"], **how)
        for job, how in ((first, ended), (last, skipped))
    ]
    publish(trained.layout, 3, progress=Progress(global_step=6, finished=records))
    go_back(trained, FIRST)

    go_back(trained, "checkpoints/step-000000006-3")

    note = trained.layout.finished(Outcome.SKIPPED) / "b.jsonl.reason.json"
    assert json.loads(note.read_bytes())["message"] == "skipped on request"
    [row] = trained.read("SELECT state, rows_trained FROM jobs WHERE display = 'b.jsonl'")
    assert tuple(row) == ("skipped", 1)


@pytest.mark.parametrize(
    "target", ["", "checkpoints/step-000000009", "../secrets", "checkpoints/../versions", "versions/v001"]
)
def test_what_is_neither_checkpoint_nor_version_is_refused(trained, target):
    assert go_back(trained, target).startswith("the model did not go back: ")

    assert steps(trained) == [1, 2, 3, 4, 5, 6]


def test_a_damaged_target_is_refused_and_everything_stays(trained):
    file = trained.layout.models / FIRST / "model.safetensors"
    file.write_bytes(b"X" + file.read_bytes()[1:])

    answer = go_back(trained, FIRST)

    assert answer.startswith("the model did not go back: step-000000003-1: model.safetensors has a different")
    assert steps(trained) == [1, 2, 3, 4, 5, 6]
    trained.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")


@pytest.mark.parametrize("name", ["finish", "reopen"])
def test_it_is_finished_after_a_failure_in_the_middle(trained, monkeypatch, name):
    raised = failing_once(monkeypatch, JobQueue, name, OSError(errno.ENOSPC, "No space left on device"))

    answer = go_back(trained, FIRST)

    assert raised
    assert answer == "the model went from step 6 to step 3; 1 file undone"
    trained.until_in(Outcome.SKIPPED, "b.jsonl")
    assert steps(trained) == [1, 2, 3]


def test_a_daemon_that_starts_later_follows_a_model_that_went_back_meanwhile(trained, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FollowBranches, "follow", lambda *arguments, **options: None)
        go_back(trained, FIRST)
        assert steps(trained) == [1, 2, 3, 4, 5, 6]
        trained.stop()

    trained.start()

    trained.until_in(Outcome.SKIPPED, "b.jsonl")
    assert steps(trained) == [1, 2, 3]


def test_a_worker_that_trains_saves_and_leaves_first(rig):
    rig.launcher.environment["FAKE_HOLD"] = "b.jsonl:2"
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    publish_checkpoints_of_one(rig)
    rig.drop("b.jsonl")
    rig.until_training("b.jsonl")

    rig.command("go_back", json.dumps({"target": "checkpoints/step-000000000-1", "reason": "worse"}))
    rig.go()

    assert rig.until_answered("go_back").startswith("the model went from step 3 to step 0")
    assert rig.launcher.launched[0].poll() == 0


def publish_checkpoints_of_one(rig):
    publish(rig.layout, 1, progress=Progress())
    publish(rig.layout, 2, progress=Progress(global_step=3))
