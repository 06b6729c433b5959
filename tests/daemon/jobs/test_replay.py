"""Completed files are replayed by later ones, and stay at hand for as long as they are needed."""

import os

import pytest

from daemon.files.identity import Identity, identity_of
from daemon.jobs.replay import FILES_REPLAYED, Replays
from tests.support import job_for, rows, write_jsonl
from trainer.config.schema import Settings
from trainer.protocol.job import Cursor, Outcome

REPLAYING = {"batch_size": 2, "gradient_accumulation": 1, "replay_fraction": 0.5}


@pytest.fixture
def replays(layout, queue, ledger):
    return Replays(layout, queue, ledger)


@pytest.fixture
def complete(layout, ledger):
    """Return a function that lets a file be completed, and gives its job."""

    def put(number, content=None, **fields):
        path = layout.finished(Outcome.COMPLETED) / f"{number}.jsonl"
        job = job_for(write_jsonl(path, content or rows(3, start=10 * number)), id=str(number), **fields)
        ledger.add_job(job, identity_of(path.stat()), "completed")
        return job, path

    return put


@pytest.fixture
def begun(queue, ledger, layout):
    """Return a job in processing/."""
    path = write_jsonl(layout.processing / "now.jsonl", rows(2, start=900))
    job = job_for(path, id="900")
    queue.adopt(job, path, identity_of(path.stat()))
    return job


def ids(files):
    return [file.job_id for file in files]


def held(replays):
    return sorted(path.name for path in replays.folder.iterdir())


# ---- which files


def test_the_newest_completed_files_are_chosen_and_no_more_than_a_few(replays, complete, begun):
    for number in range(100, 103 + FILES_REPLAYED):
        complete(number)

    chosen = replays.choose(begun)

    assert ids(chosen) == [str(number) for number in range(102 + FILES_REPLAYED, 102, -1)]


def test_what_is_known_of_a_file_is_frozen_with_it(replays, complete, begun):
    job, _ = complete(1, rejected_lines=(4, 7))

    [chosen] = replays.choose(begun)

    assert (chosen.name, chosen.sha256, chosen.rows) == ("1.jsonl", job.sha256, 3)
    assert chosen.rejected_lines == (4, 7)


def test_files_that_are_gone_changed_or_the_same_again_are_passed_over(replays, complete, begun):
    complete(1)
    complete(2, rows(2, start=900))  # as the file that will be trained
    complete(3, rows(3, start=10))  # as the first
    _, gone = complete(4)
    _, changed = complete(5)
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"\n")

    assert ids(replays.choose(begun)) == ["3"]


def test_nothing_is_chosen_as_long_as_nothing_is_completed(replays, begun):
    assert replays.choose(begun) == ()
    assert not replays.folder.exists()


# ---- how long they stay


def test_a_chosen_file_stays_at_hand_when_its_owner_removes_it(replays, complete, begun):
    _, path = complete(1)
    content = path.read_bytes()
    chosen = replays.choose(begun)

    path.unlink()

    assert (replays.folder / chosen[0].job_id).read_bytes() == content


def test_a_file_is_released_when_no_open_job_replays_it_any_more(replays, complete, begun, ledger):
    for number in (1, 2):
        complete(number)
    chosen = replays.choose(begun)
    ledger.freeze_settings(begun.id, {}, chosen[:1])

    replays.release()
    before = held(replays)
    ledger.place_job(begun, "completed")
    replays.release()

    assert (before, held(replays)) == (["2"], [])


def test_a_ledger_that_was_begun_anew_releases_nothing_that_the_checkpoint_needs(replays, complete, begun):
    complete(1)
    complete(2)
    [chosen, _] = replays.choose(begun)
    cursor = Cursor(
        job_id=begun.id, sha256="", plan="", step=1, rows_trained=1, settings={}, replayed=(chosen,)
    )

    replays.note_cursors([cursor])
    replays.release()

    assert held(replays) == ["2"]


def test_a_completed_job_that_waits_again_gets_back_what_it_replays(replays, complete, begun):
    complete(1)
    chosen = replays.choose(begun)
    replays.release()

    replays.keep(chosen)

    assert held(replays) == ["1"]


def test_a_file_is_copied_where_the_file_system_has_no_links(replays, complete, begun, monkeypatch):
    _, path = complete(1)

    def link(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    [chosen] = replays.choose(begun)

    copy = replays.folder / chosen.job_id
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_ino != path.stat().st_ino


def test_a_job_of_an_unknown_file_is_left_to_the_worker_to_complain_about(replays, complete, begun, ledger):
    job, _ = complete(1)
    chosen = replays.choose(begun)
    replays.release()
    ledger.add_job(job, Identity(1, 1, 1, 1), "completed")  # it was changed since

    replays.keep(chosen)

    assert held(replays) == []


def test_a_file_is_replayed_under_the_names_it_was_trained_with(replays, complete, begun, ledger):
    job, _ = complete(1)
    settings = Settings.model_validate({"data": {"fields": {"prompt": "frage"}}})
    ledger.freeze_settings(job.id, settings.model_dump(mode="json"))

    [chosen] = replays.choose(begun)

    assert chosen.fields == (("prompt", "frage"),)


# ---- the whole daemon


def replayed_by(rig, name):
    [row] = rig.read("SELECT * FROM jobs WHERE display=?", name)
    return row["replayed"]


def begin_second(rig):
    """Have b.jsonl held at its second step, replaying a.jsonl."""
    rig.configure(training=REPLAYING, daemon={"blocked_retry_s": 600.0})
    rig.launcher.environment = {"FAKE_HOLD": "b.jsonl:2"}
    rig.start()
    rig.drop("a.jsonl", 2)
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.drop("b.jsonl", 3)
    rig.until_training("b.jsonl")
    rig.launcher.environment = {}
    (rig.layout.finished(Outcome.COMPLETED) / "a.jsonl").unlink()


def test_a_job_keeps_what_it_replays_across_the_end_of_its_worker(rig):
    begin_second(rig)
    first = replayed_by(rig, "b.jsonl")

    rig.launcher.launched[-1].kill()

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert replayed_by(rig, "b.jsonl") == first
    assert '"name": "a.jsonl"' in first
    assert replayed_by(rig, "a.jsonl") is None
    rig.until(lambda: not os.listdir(rig.layout.replayed), "the release of a.jsonl")


def test_a_file_that_cannot_be_replayed_blocks_until_it_is_back_and_costs_no_attempt(rig):
    begin_second(rig)
    [held_file] = rig.layout.replayed.iterdir()
    content = held_file.read_bytes()

    held_file.unlink()
    rig.launcher.launched[-1].kill()
    shown = rig.until_status("blocked")
    held_file.write_bytes(content)
    rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert "b.jsonl replays rows of a.jsonl, which is gone" in shown["status_reason"]
    assert [row["kind"] for row in rig.read("SELECT kind FROM crashes")] == ["crash", "environment"]


def test_a_job_that_cannot_go_on_without_what_it_replays_can_be_skipped(rig):
    begin_second(rig)
    [held_file] = rig.layout.replayed.iterdir()
    held_file.unlink()
    rig.launcher.launched[-1].kill()
    rig.until_status("blocked")

    rig.command("skip")

    rig.until_in(Outcome.SKIPPED, "b.jsonl")
    rig.drop("c.jsonl", 2)
    rig.command("resume")
    rig.until_in(Outcome.COMPLETED, "c.jsonl")


def test_nothing_is_replayed_unless_it_is_asked_for(rig):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")

    rig.drop("b.jsonl", 2)

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    assert replayed_by(rig, "b.jsonl") is None
    assert Settings().training.replay_fraction == 0
    assert not rig.layout.replayed.exists()
