"""Rows of earlier files are trained among those of a later one, and always the same ones."""

import gzip
import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import rows, write_jsonl
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.pipeline.replay import EarlierFiles
from trainer.protocol.faults import UnusableReplay
from trainer.protocol.job import EarlierFile
from trainer.protocol.messages import JobEnded, JobStarted

SAVES_LATE = {"group_commit_s": 1e9}
MIXED = settings_with(
    training={"batch_size": 4, "epochs": 2, "replay_fraction": 0.5},
    data={"prefetch_steps": 1},
    checkpoints=SAVES_LATE,
)


class Shelf:
    """Earlier files, held under the ids of their jobs."""

    def __init__(self, folder, job_file):
        self.folder = folder
        self._job_file = job_file
        folder.mkdir()

    def hold(self, name, content, rejected_lines=()):
        job, path = self._job_file(name, content)
        shutil.copyfile(path, self.folder / name)
        return EarlierFile(
            job_id=name,
            name=f"{name}.jsonl",
            sha256=job.sha256,
            rows=job.rows - len(rejected_lines),
            rejected_lines=rejected_lines,
        )

    def order(self, job, path, *earlier, settings=MIXED):
        return start(job, path, settings, replayed=earlier, replay_folder=str(self.folder))


@pytest.fixture
def shelf(tmp_path, job_file):
    return Shelf(tmp_path / "held", job_file)


def texts(run):
    """Return what each step has of its own file, and of others."""
    steps = []
    for bundle in run.trained:
        shown = ["".join(map(chr, example.token_ids)) for example in bundle.examples]
        own = len(shown) - bundle.replayed
        steps.append((shown[:own], shown[own:]))
    return steps


def questions(shown):
    """Return the numbers that the rows of `tests.support.rows` ask for."""
    return sorted(int(text.split("Say ")[1].split(".")[0]) for text in shown)


# ---- what a step holds


def test_every_step_has_its_share_of_earlier_rows_and_every_own_row_comes_once_an_epoch(shelf, job_file):
    old, older = shelf.hold("old", rows(3, start=100)), shelf.hold("older", rows(2, start=200))
    job, path = job_file("a", 5)

    run = Run([shelf.order(job, path, old, older), LEAVE])

    steps = texts(run)
    assert [(len(own), len(earlier)) for own, earlier in steps] == [(2, 2), (2, 2), (1, 2)] * 2
    for epoch in (steps[:3], steps[3:]):
        assert questions([text for own, _ in epoch for text in own]) == [0, 1, 2, 3, 4]
    drawn = [text for _, earlier in steps for text in earlier]
    assert questions(drawn[:5]) == questions(drawn[5:10]) == [100, 101, 102, 200, 201]


def test_replayed_rows_count_apart_from_those_of_the_file(shelf, job_file):
    old = shelf.hold("old", rows(3, start=100))
    job, path = job_file("a", 5)

    run = Run([shelf.order(job, path, old), LEAVE])

    assert [(step.rows, step.replayed) for step in run.steps] == [(2, 2), (2, 2), (1, 2)] * 2
    assert run.told(JobEnded)[0].record.rows_trained == 10
    assert run.engine.progress.samples_seen == 22, "as tokens_seen, of everything that was trained"
    assert all(
        bundle.num_items == sum(example.supervised_tokens for example in bundle.examples)
        for bundle in run.trained
    )


def test_earlier_rows_are_read_as_they_were_trained_packed_and_under_their_names(shelf, job_file):
    named = [{"frage": f"Say {i}.", "antwort": f"{i} it is."} for i in range(100, 103)]
    content = b"".join(json.dumps(value).encode() + b"\n" for value in named)
    (shelf.folder / "old").write_bytes(packed := gzip.compress(content))
    fields = (("prompt", "frage"), ("completion", "antwort"))
    sha256 = hashlib.sha256(packed).hexdigest()
    old = EarlierFile(job_id="old", name="old.jsonl.gz", sha256=sha256, rows=3, fields=fields)
    job, path = job_file("a", 5)

    run = Run([shelf.order(job, path, old), LEAVE])

    drawn = [text for _, earlier in texts(run) for text in earlier]
    assert questions(drawn[:3]) == [100, 101, 102]


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_a_file_is_trained_by_itself_without_a_share_or_without_earlier_files(shelf, job_file, fraction):
    old = shelf.hold("old", rows(3, start=100))
    job, path = job_file("a", 5)
    plain = settings_with(training={"batch_size": 4})
    alone = Run([start(job, path, plain), LEAVE])
    settings = settings_with(training={"batch_size": 4, "replay_fraction": fraction})

    run = Run([shelf.order(job, path, *([] if fraction else [old]), settings=settings), LEAVE])

    assert run.token_ids == alone.token_ids
    assert [step.replayed for step in run.steps] == [0, 0]


def test_lines_that_were_rejected_once_are_not_replayed(shelf, job_file):
    old = shelf.hold("old", ["no row", *rows(1, start=100), "no row either"], rejected_lines=(1, 3))
    job, path = job_file("a", 5)

    run = Run([shelf.order(job, path, old), LEAVE])

    assert {text for _, earlier in texts(run) for text in earlier} == {
        "user:Say 100.\nassistant:100 it is.\n"
    }


def test_replayed_rows_are_rendered_by_the_settings_of_the_job_and_not_counted_as_its_own(shelf, job_file):
    old = shelf.hold("old", rows(2, start=100_000_000))
    job, path = job_file("a", 4)
    settings = settings_with(
        training={"batch_size": 4, "replay_fraction": 0.5}, data={"max_length": len("user:Say 0.") + 25}
    )

    run = Run([shelf.order(job, path, old, settings=settings), LEAVE])

    longest = {len(text) for _, earlier in texts(run) for text in earlier}
    assert longest == {settings.data.max_length}
    assert run.told(JobEnded)[0].truncated_rows == 0


# ---- going on


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_a_stopped_file_goes_on_with_the_very_rows_that_were_next_whatever_was_completed_since(
    shelf, job_file, stop_after
):
    old, newer = shelf.hold("old", rows(3, start=100)), shelf.hold("newer", rows(3, start=200))
    job, path = job_file("a", 5)
    whole = Run([shelf.order(job, path, old), LEAVE])
    before = Run([shelf.order(job, path, old)], between={stop_after: [LEAVE]})

    after = Run([shelf.order(job, path, newer, old), LEAVE], engine=FakeEngine(before.engine.saved[-1]))

    assert after.told(JobStarted)[0].first_step == stop_after
    assert before.token_ids + after.token_ids == whole.token_ids
    assert after.told(JobEnded)[0].record == whole.told(JobEnded)[0].record


def spoil(path, how):
    match how:
        case "removed":
            path.unlink()
        case "changed":
            write_jsonl(path, rows(3, start=101))
        case "grown":
            path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("how", ["removed", "changed", "grown"])
def test_a_file_that_cannot_be_replayed_is_named_and_nothing_is_lost(shelf, job_file, how):
    old = shelf.hold("old", rows(3, start=100))
    first = start(*job_file("first", 2), settings_with(checkpoints=SAVES_LATE))
    job, path = job_file("a", 5)
    whole = Run([first, shelf.order(job, path, old), LEAVE])
    kept = (shelf.folder / "old").read_bytes()
    engine = FakeEngine()
    spoil(shelf.folder / "old", how)

    with pytest.raises(
        UnusableReplay, match=r"a\.jsonl replays rows of old\.jsonl, but .*put it back as .*/old"
    ):
        Run([first, shelf.order(job, path, old)], engine=engine)

    [saved] = engine.saved
    assert [record.job_id for record in saved.finished] == ["first"], "what had ended before is saved"
    assert saved.cursors == {}
    (shelf.folder / "old").write_bytes(kept)
    after = Run([shelf.order(job, path, old), LEAVE], engine=FakeEngine(saved))
    assert after.token_ids == whole.token_ids[1:]


def test_a_file_that_is_changed_while_it_is_replayed_stops_the_job_where_it_is(shelf, job_file):
    old = shelf.hold("old", rows(3, start=100))
    job, path = job_file("a", 5)
    whole = Run([shelf.order(job, path, old), LEAVE])
    held = shelf.folder / "old"
    kept, engine, events = held.read_bytes(), FakeEngine(), []

    def change(bundle):
        if bundle.index == 1:
            held.write_bytes(kept + b"\n")

    with pytest.raises(UnusableReplay, match="the file was changed while it was being trained"):
        Run([shelf.order(job, path, old)], engine=engine, events=events, on_step=change)

    assert not [event for event in events if isinstance(event, JobEnded)]
    [saved] = engine.saved
    held.write_bytes(kept)
    after = Run([shelf.order(job, path, old), LEAVE], engine=FakeEngine(saved))
    trained = saved.cursors["a"].step
    assert trained >= 2
    assert after.token_ids == whole.token_ids[trained:]


# ---- open files


def test_files_stay_open_from_job_to_job_and_are_closed_when_no_longer_wanted(shelf, job_file):
    old, newer = shelf.hold("old", 2), shelf.hold("newer", 3)
    order = shelf.order(*job_file("a", 1))
    ticks = []
    with ThreadPoolExecutor(1) as executor:
        files = EarlierFiles(executor, lambda: ticks.append(1))

        [(_, first)] = files.take([old], order, 1000)
        (_, again), (_, other) = files.take([old, newer], order, 1000)
        after_two = len(ticks)
        files.take([newer], order, 1000)

    assert (first, after_two) == (again, 2)
    assert (first._file.closed, other._file.closed) == (True, False)
    files.close()
    assert other._file.closed
