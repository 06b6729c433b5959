"""No step is lost or sent twice, whoever is killed or refuses, and a branch of the model is another run."""

import json

import pytest

from daemon.files.identity import Identity
from daemon.tracking.outbox import UnreadableOutbox
from daemon.tracking.tracker import NotSent
from tests.daemon.ledger.entries import step
from tests.daemon.tracking.life import Kill, Memory, crash, evaluate, follow, go_back, train
from tests.support import job_for, row, write_jsonl


@pytest.fixture
def tracker():
    return Memory()


def test_each_step_is_sent_once_in_order(layout, ledger, tracker):
    for numbers in ([1, 2, 3], [4, 5]):
        train(ledger, *numbers)
        follow(layout, tracker)
    follow(layout, tracker)

    assert tracker.steps() == [1, 2, 3, 4, 5]
    assert len(tracker.runs) == 1


def test_a_row_has_what_is_known_of_its_step(layout, ledger, tracker):
    train(ledger, 1, 2)

    follow(layout, tracker)

    [rows] = tracker.runs.values()
    assert rows[1].values == {
        "train/loss": 0.5,
        "train/learning_rate": 1e-4,
        "train/tokens_per_s": 20.0,
        "train/tokens": 20.0,
    }


def test_steps_that_are_trained_again_after_a_crash_are_not_sent_again(layout, ledger, tracker):
    train(ledger, 1, 2, 3, 4, 5)
    follow(layout, tracker)
    crash(ledger, 2)
    follow(layout, tracker)
    train(ledger, 3, 4)
    follow(layout, tracker)
    train(ledger, 5, 6, 7)
    follow(layout, tracker)

    assert tracker.steps() == [1, 2, 3, 4, 5, 6, 7]
    assert [row.values["train/tokens"] for row in tracker.rows] == [10, 20, 30, 40, 50, 60, 70]


@pytest.mark.parametrize("after", range(7))
def test_a_kill_in_the_middle_of_sending_loses_and_repeats_nothing(layout, ledger, tracker, after):
    train(ledger, 1, 2, 3)
    follow(layout, tracker)
    train(ledger, 4, 5, 6)
    evaluate(ledger, 6)
    tracker.kill_after = after

    with pytest.raises(Kill):
        follow(layout, tracker)
    train(ledger, 7)
    follow(layout, tracker)

    numbers = [row.number for row in tracker.rows]
    assert tracker.steps() == [1, 2, 3, 4, 5, 6, 7]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_outage_of_an_hour_loses_no_step(layout, ledger, tracker):
    train(ledger, 1, 2, 3)
    tracker.failures = [NotSent("the server is away")] * 20

    waited = follow(layout, tracker, waits=20)

    assert sum(waited) > 3600
    assert max(waited) == 300
    assert tracker.steps() == [1, 2, 3]


def test_what_is_trained_in_an_outage_stays_in_the_ledger(layout, ledger, tracker):
    train(ledger, *range(1, 9_001))
    tracker.failures = [NotSent("the server is away")] * 3

    follow(layout, tracker, waits=2)
    written = (layout.status / "tracking" / "tracker.json").stat().st_size
    follow(layout, tracker)

    assert written < 2_000_000
    assert tracker.steps() == list(range(1, 9_001))


def test_a_problem_is_noted_until_it_is_over(layout, ledger, tracker):
    train(ledger, 1)
    tracker.failures = [NotSent("no room")]

    follow(layout, tracker)
    noted = (layout.status / "tracking" / "tracker.json").read_text()
    follow(layout, tracker)

    assert '"problem": "no room; trying again"' in noted
    assert '"problem": null' in (layout.status / "tracking" / "tracker.json").read_text()


def test_evaluations_that_come_one_by_one_at_a_step_are_each_sent_once(layout, ledger, tracker):
    train(ledger, 1, 2)
    evaluate(ledger, 2)
    follow(layout, tracker)
    evaluate(ledger, 2, suite="puzzles")
    follow(layout, tracker)
    train(ledger, 3)
    evaluate(ledger, 3)
    follow(layout, tracker)

    sent = [(row.step, name) for row in tracker.rows for name in row.values if not name.startswith("train/")]
    assert len(sent) == len(set(sent))
    assert (2, "suites/puzzles/exact_match") in sent
    assert (2, "suites/skills/easy/loss") in sent
    assert [step for step, name in sent if name == "validation/loss"] == [2, 3]
    assert [(row.name, row.text) for row in tracker.rows if row.kind == "answer"] == [
        ("Say hi", "hi 2"),
        ("Say hi", "hi 3"),
    ]


def test_files_and_checkpoints_are_notes_at_their_steps(layout, ledger, tracker):
    ledger.add_event("started", "training a.jsonl", "1", {"file": "a.jsonl", "first_step": 0})
    train(ledger, 1, 2)
    ledger.add_event("checkpoint", "saved", None, {"global_step": 2})
    ledger.add_event("finished", "completed a.jsonl", "1", {"file": "a.jsonl", "outcome": "completed"})
    ledger.add_event("worker_started", "started", None, {})
    ledger.commit()

    follow(layout, tracker)

    assert tracker.notes() == [(1, "training a.jsonl"), (2, "saved"), (2, "completed a.jsonl")]


def test_a_model_that_goes_back_continues_in_another_run(layout, ledger, tracker):
    branches = []
    train(ledger, 1, 2, 3, 4)
    follow(layout, tracker)
    train(ledger, 5)
    go_back(ledger, 1, to=2, left=5, branches=branches)
    train(ledger, 3, 4)

    follow(layout, tracker)

    assert [tracker.steps(run) for run in range(2)] == [[1, 2, 3, 4, 5], [3, 4]]
    [first, second] = [tracker.opened[0], tracker.opened[-1]]
    assert second.id == f"{first.id}-b1"
    assert (second.from_run, second.from_step, second.lineage) == (first.id, 2, first.lineage)
    assert tracker.notes(1) == [(2, "the model went from step 5 to step 2")]
    assert [row.values["train/tokens"] for row in tracker.rows if row.values] == [30, 40]


def test_all_branches_are_there_for_a_tracker_that_comes_late(layout, ledger, tracker):
    branches = []
    train(ledger, 1, 2, 3, 4)
    evaluate(ledger, 4)
    go_back(ledger, 1, to=2, left=4, branches=branches)
    train(ledger, 3, 4, 5)
    go_back(ledger, 2, to=4, left=5, of=0, branches=branches)  # where it was on the first branch
    train(ledger, 5, 6)

    follow(layout, tracker)

    assert [tracker.steps(run) for run in range(3)] == [[1, 2, 3, 4], [3, 4, 5], [5, 6]]
    assert [tracker.opened[-1].from_run, tracker.opened[-1].from_step] == [tracker.opened[0].id, 4]
    validated = [
        row.step for rows in tracker.runs.values() for row in rows if "validation/loss" in row.values
    ]
    assert validated == [4]


def test_a_model_that_starts_anew_has_a_run_of_its_own(layout, ledger, tracker):
    train(ledger, 1, 2)
    ledger.add_event("checkpoint", "saved", None, {"global_step": 2})
    ledger.commit()
    follow(layout, tracker)
    crash(ledger, 0)
    train(ledger, 1)

    follow(layout, tracker)

    assert [tracker.steps(run) for run in range(2)] == [[1, 2], [1]]
    assert tracker.opened[0].lineage != tracker.opened[-1].lineage


def test_a_crash_before_the_first_checkpoint_starts_no_run(layout, ledger, tracker):
    train(ledger, 1, 2)
    follow(layout, tracker)
    crash(ledger, 0)
    train(ledger, 1, 2, 3)

    follow(layout, tracker)

    assert tracker.steps() == [1, 2, 3]
    assert len(tracker.runs) == 1


def test_memory_is_measured_now_and_then(layout, ledger, tracker):
    for number in (1, 2):
        train(ledger, number)
        follow(layout, tracker, measure=lambda: {"memory/worker_bytes": 5.0})

    assert [row.number for row in tracker.rows] == [1, 2, 3, 4]
    assert [row.step for row in tracker.rows if "memory/worker_bytes" in row.values] == [1, 2]


def test_settings_are_sent_when_they_change(layout, ledger, tracker):
    for number, rate in enumerate([1e-4, 1e-4, 2e-4], 1):
        job = job_for(write_jsonl(layout.base / f"{number}.jsonl", [row()]), id=str(number))
        ledger.add_job(job, Identity(1, 2, 3, 4), "waiting")
        ledger.freeze_settings(job.id, {"training": {"learning_rate": rate}})
        ledger.add_event("started", "training", job.id, {"first_step": 0})
        ledger.add_steps([step(number, job_id=job.id, file_step=1)])
        ledger.commit()
        follow(layout, tracker)

    sent = [(row.step, json.loads(row.text)["training"]) for row in tracker.rows if row.kind == "settings"]
    assert sent == [(1, {"learning_rate": 1e-4}), (3, {"learning_rate": 2e-4})]


def test_a_file_of_somebody_else_is_not_overwritten(layout, tracker):
    file = layout.status / "tracking" / "tracker.json"
    file.parent.mkdir()
    file.write_text("[]")

    with pytest.raises(UnreadableOutbox, match="move it away"):
        follow(layout, tracker)

    assert file.read_text() == "[]"
