"""A more urgent file takes over at the next step, and the other one goes on later where it was."""

import json

import pytest

from daemon.client import Client
from tests.daemon.rig import Rig
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.manifest import CHECKSUM, Manifest, Progress, checksum

PREEMPTED = "preempted low.jsonl after 1 step: a more urgent file comes first"


@pytest.fixture
def overtaken(rig: Rig) -> Rig:
    """A daemon that has set low.jsonl aside after its first step, and trains high.jsonl."""
    rig.launcher.environment = {"FAKE_HOLD": "low.jsonl:2,high.jsonl:1"}
    rig.start()
    rig.drop("low.jsonl", folder="inbox/low")
    rig.until_training("low.jsonl")
    rig.drop("high.jsonl", folder="inbox/high")
    rig.until_training("high.jsonl")
    return rig


def steps(rig):
    """Return what was trained in the order of the model's life: (file, step of the file)."""
    rows = rig.read("SELECT display, file_step FROM steps JOIN jobs ON jobs.id = job_id ORDER BY global_step")
    return [(row["display"].removesuffix(".jsonl"), row["file_step"]) for row in rows]


TAKEN_OVER = [("low", 1), ("high", 1), ("high", 2), ("high", 3), ("low", 2), ("low", 3)]


def test_a_more_urgent_file_takes_over_and_the_other_goes_on_at_the_next_step(overtaken):
    overtaken.go()

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert steps(overtaken) == TAKEN_OVER
    assert len(overtaken.launcher.launched) == 1


def test_a_file_that_was_set_aside_waits_under_its_id_and_pays_nothing(overtaken):
    [low] = overtaken.read("SELECT * FROM jobs WHERE display='low.jsonl'")

    assert (low["state"], low["attempts"]) == ("waiting", 0)
    assert (overtaken.layout.waiting(Priority.LOW) / "low.jsonl").exists()
    assert [row["verdict"] for row in overtaken.read("SELECT * FROM attempts")] == ["preempted", None]
    assert overtaken.events("preempted") == [PREEMPTED]


def test_nothing_takes_over_if_the_settings_forbid_it(rig):
    rig.configure(daemon={"preempt": False})
    rig.launcher.environment = {"FAKE_HOLD": "low.jsonl:2"}
    rig.start()
    rig.drop("low.jsonl", folder="inbox/low")
    rig.until_training("low.jsonl")
    rig.drop("high.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    rig.go()

    rig.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert rig.events("preempted") == []


def test_a_file_that_ends_before_it_is_set_aside_has_simply_ended(rig):
    rig.launcher.environment = {"FAKE_HOLD": "low.jsonl:3", "FAKE_SLOW_TO_SKIP": "1"}
    rig.start()
    rig.drop("low.jsonl", folder="inbox/low")
    rig.until_training("low.jsonl")
    rig.drop("high.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    rig.go()

    rig.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert rig.events("preempted") == []
    assert len(rig.read("SELECT * FROM attempts")) == 2


# ---- what people do meanwhile


def test_a_skip_that_crosses_the_setting_aside_is_not_lost(rig):
    rig.launcher.environment = {"FAKE_HOLD": "low.jsonl:2", "FAKE_SLOW_TO_SKIP": "1"}
    rig.start()
    rig.drop("low.jsonl", folder="inbox/low")
    rig.until_training("low.jsonl")
    rig.drop("high.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    rig.command("skip")

    assert rig.until_answered("skip") == "skipped low.jsonl"
    rig.until_in(Outcome.SKIPPED, "low.jsonl", "low.jsonl.reason.json")
    rig.until_in(Outcome.COMPLETED, "high.jsonl")
    assert rig.events("preempted") == [PREEMPTED]
    assert cursors(rig) == []


def test_a_pause_that_comes_after_the_setting_aside_holds_the_urgent_file(overtaken):
    overtaken.command("pause")
    overtaken.until_status("paused")
    overtaken.go()
    trained_meanwhile = overtaken.events("trained")

    overtaken.command("resume")

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert trained_meanwhile == []
    assert steps(overtaken) == TAKEN_OVER


def test_a_stop_leaves_the_file_that_was_set_aside_in_its_queue(overtaken):
    overtaken.command("stop")
    overtaken.until_status("stopping")

    overtaken.go()

    assert overtaken.left() == 0
    assert (overtaken.layout.waiting(Priority.LOW) / "low.jsonl").exists()
    assert (overtaken.layout.finished(Outcome.COMPLETED) / "high.jsonl").exists()


def test_the_next_daemon_goes_on_with_both_files_in_their_order(overtaken):
    overtaken.stop_soon()
    overtaken.left()

    overtaken.go()
    overtaken.start()

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert steps(overtaken) == TAKEN_OVER


def cursors(rig):
    """Return the ids of the jobs that the worker has saved as trained in part."""
    return list(json.loads((rig.layout.models / "fake_progress.json").read_text())["cursors"])


def publish_cursors(rig):
    """Have a checkpoint say what the worker has saved, for a daemon that starts."""
    progress = json.loads((rig.layout.models / "fake_progress.json").read_text())
    (rig.layout.models / "current_model").mkdir()
    manifest = rig.layout.models / "current_model" / "MANIFEST.json"
    content = Manifest(
        sequence=1, parent=None, written_at="", base_model="tiny", method="full", files={}, versions={},
        progress=Progress(cursors=progress["cursors"], finished=progress["finished"]),
    ).model_dump(mode="json")  # fmt: skip
    manifest.write_text(json.dumps(content | {CHECKSUM: checksum(content)}))


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_file_that_is_removed_and_retried_is_trained_from_its_first_row(overtaken, is_stopped):
    if is_stopped:
        overtaken.stop_soon()
        overtaken.left()
        publish_cursors(overtaken)
    queue = Client(overtaken.layout.base).queue

    queue.remove("low.jsonl")
    if not is_stopped:
        overtaken.until(lambda: overtaken.events("removed"))
    queue.retry("low.jsonl")
    overtaken.go()
    if is_stopped:
        overtaken.start()

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert [step for step in steps(overtaken) if step[0] == "low"][-3:] == [
        ("low", 1),
        ("low", 2),
        ("low", 3),
    ]
    assert len(overtaken.events("removed")) == 1


def test_a_file_removed_and_queued_again_before_anybody_looked_still_comes_before_less_urgent_ones(rig):
    rig.configure(daemon={"preempt": False, "rescan_s": 3600})
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:1"}
    rig.drop("a.jsonl")
    rig.start()
    rig.until_training("a.jsonl")
    rig.drop("later.jsonl", folder="inbox/low")
    rig.drop("urgent.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 3)
    queue = Client(rig.layout.base).queue

    queue.remove("urgent.jsonl")
    queue.retry("urgent.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 4)
    listed = [file.name for file in queue.files()]
    rig.go()

    rig.until_in(Outcome.COMPLETED, *listed)
    assert listed == ["a.jsonl", "urgent.jsonl", "later.jsonl"]
    assert list(dict.fromkeys(name for name, _ in steps(rig))) == ["a", "urgent", "later"]


@pytest.mark.parametrize("how", ["removed", "skipped"])
def test_a_file_taken_away_while_it_is_set_aside_is_forgotten_by_the_worker_too(overtaken, how):
    path = overtaken.layout.waiting(Priority.LOW) / "low.jsonl"
    remembered = cursors(overtaken)

    if how == "removed":
        path.unlink()
    else:
        path.rename(overtaken.layout.finished(Outcome.SKIPPED) / path.name)
    overtaken.until(lambda: overtaken.events("removed"))
    overtaken.go()

    overtaken.until_in(Outcome.COMPLETED, "high.jsonl")
    assert len(remembered) == 1
    assert cursors(overtaken) == []


def test_a_file_made_more_urgent_while_it_is_set_aside_goes_on_where_it_was(overtaken):
    path = overtaken.layout.waiting(Priority.LOW) / "low.jsonl"

    path.rename(overtaken.layout.waiting(Priority.HIGH) / path.name)
    overtaken.until(
        lambda: overtaken.read("SELECT * FROM jobs WHERE display='low.jsonl' AND priority='high'")
    )
    overtaken.go()

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    assert steps(overtaken) == TAKEN_OVER
    assert overtaken.events("preempted") == [PREEMPTED]


def test_without_its_ledger_a_file_that_was_set_aside_still_goes_on_where_it_was(overtaken):
    [id_before] = cursors(overtaken)
    overtaken.stop_soon()
    overtaken.left()
    overtaken.layout.ledger_file.unlink()
    publish_cursors(overtaken)
    overtaken.go()

    overtaken.start()

    overtaken.until_in(Outcome.COMPLETED, "low.jsonl", "high.jsonl")
    [low] = overtaken.read("SELECT * FROM jobs WHERE display='low.jsonl'")
    assert (low["id"], low["rows_trained"]) == (id_before, 3)
    assert [step for name, step in steps(overtaken) if name == "low"] == [2, 3]


# ---- crashes


def test_after_a_crash_files_are_trained_again_in_the_order_of_their_begins(rig):
    rig.command("pause")
    rig.start().until_status("paused")
    rig.drop("older.jsonl", folder="inbox/low")
    rig.until(lambda: len(rig.events("accepted")) == 1)
    rig.drop("urgent.jsonl", folder="inbox/high")
    rig.until(lambda: len(rig.events("accepted")) == 2)
    rig.launcher.environment = {"FAKE_HOLD": "older.jsonl:2"}
    rig.command("resume")
    rig.until_training("older.jsonl")

    rig.launcher.launched[0].kill()
    rig.go()

    rig.until_in(Outcome.COMPLETED, "older.jsonl", "urgent.jsonl")
    trained = [message.split()[1].rstrip(":") for message in rig.events("trained")]
    assert trained == ["urgent.jsonl", "urgent.jsonl", "older.jsonl"]
    assert steps(rig) == [(name, step) for name in ("urgent", "older") for step in (1, 2, 3)]
