"""What is left of a forgotten file is erased wherever it lies, and nothing else is."""

import fcntl
import hashlib
import json

import pytest
from filelock import FileLock

from daemon.data_tools.flagged import Flagged, add_flagged, read_flagged
from tests.health import merge_into, publish
from tests.support import FakeClock, row, rows, write_jsonl
from trainer.data.checks.minhash import RowMinHash
from trainer.data.checks.seen_rows import SeenRows
from trainer.forgetting.erasing import erase
from trainer.protocol.forgetting import Erased
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import MANIFEST_NAME
from trainer.protocol.pins import pin
from trainer.versions.registry import Versions

BAD = rows(3, start=40)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    layout.kept_files.mkdir()
    return layout


@pytest.fixture
def sha256(layout):
    """Return the SHA-256 of a content that was kept when it was accepted."""
    path = write_jsonl(layout.logs / "bad.jsonl", BAD)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    path.rename(layout.kept_files / found)
    return found


def test_every_copy_below_queue_and_inbox_goes_whatever_it_is_called(layout, sha256):
    trash = layout.trash / "failed-20260101-000000"
    trash.mkdir(parents=True)
    other = write_jsonl(layout.failed / "other.jsonl", rows(3, start=50))  # of the same size
    copies = [
        layout.inbox / "again.jsonl",
        layout.queue / "recently_completed" / "bad.jsonl",
        trash / "x.jsonl",
    ]
    for copy in copies:
        write_jsonl(copy, BAD)

    unreached = erase(layout, sha256, Erased())

    assert unreached == []
    assert [path for path in copies if path.exists()] == []
    assert not (layout.kept_files / sha256).exists()
    assert other.exists()


def test_a_row_of_the_file_is_flagged_no_more_and_others_are(layout, sha256):
    flagged = layout.status / "flagged_examples.jsonl"
    for number, content in enumerate((BAD[1], row(), BAD[2])):
        add_flagged(
            flagged, Flagged(at="now", file="failed/bad.jsonl", line=number + 1, note="odd", row=content)
        )

    erase(layout, sha256, Erased())

    assert [entry.row for entry in read_flagged(flagged)] == [row()]
    assert (flagged.stat().st_mode & 0o777) == 0o600


def test_without_the_content_it_is_said_that_flagged_rows_cannot_be_told(layout):
    flagged = layout.status / "flagged_examples.jsonl"
    add_flagged(flagged, Flagged(at="now", file="failed/bad.jsonl", line=1, note="odd", row=BAD[0]))

    [problem] = erase(layout, "0" * 64, Erased())

    assert problem.startswith("flagged_examples.jsonl: rows of the file may be among those flagged")
    assert len(list(read_flagged(flagged))) == 1


def test_a_row_that_is_flagged_at_that_very_moment_is_not_lost(layout, sha256, monkeypatch):
    flagged = layout.status / "flagged_examples.jsonl"
    add_flagged(flagged, Flagged(at="now", file="failed/bad.jsonl", line=1, note="odd", row=BAD[0]))
    locked = fcntl.flock
    erased = []

    def erase_first(*arguments):
        if not erased:
            erased.append(True)
            erase(layout, sha256, Erased())  # the file that was opened is replaced before it is locked
        locked(*arguments)

    monkeypatch.setattr("daemon.data_tools.flagged.fcntl.flock", erase_first)
    add_flagged(flagged, Flagged(at="now", file="failed/good.jsonl", line=1, note="odd", row=row()))

    assert [entry.row for entry in read_flagged(flagged)] == [row()]


def test_rows_seen_before_are_those_of_other_files(layout, sha256):
    path = layout.models / "seen_rows.sqlite3"
    one, two = (RowMinHash(line=1, identity=number, signature=bytes(128)) for number in (1, 2))
    with SeenRows.open(path) as seen:
        seen.add(sha256, "bad.jsonl", [one], max_rows=10)
        seen.add("1" * 64, "good.jsonl", [two], max_rows=10)

    erase(layout, sha256, Erased())

    with SeenRows.open_for_reading(path) as seen:
        assert (seen.knows(sha256), seen.knows("1" * 64), seen.num_rows) == (False, True, 1)


def test_checkpoints_go_also_when_pinned_but_not_what_another_program_reads(layout, sha256):
    paths = [publish(layout, number, step=number) for number in (1, 2, 3)]
    pin(paths[0])
    with (paths[1] / MANIFEST_NAME).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        unreached = erase(
            layout, sha256, Erased(checkpoints=(paths[0].name, paths[1].name, "step-000000099"))
        )

    assert unreached == [f"checkpoints/{paths[1].name} is used by another program; stop it and ask again"]
    assert [path.exists() for path in paths] == [False, True, True]
    assert not paths[0].with_name(f"{paths[0].name}.pin").exists()


def test_versions_go_with_their_aliases_and_their_records_stay(layout, sha256):
    paths = [publish(layout, number, step=number) for number in (1, 2)]
    versions = Versions(layout.models, clock=FakeClock())
    kept, gone = (versions.create(path, made_by="hand", trained=lambda parent: ()) for path in paths)
    versions.alias("deployed", gone)

    unreached = erase(layout, sha256, Erased(versions=(gone.id,)))
    again = erase(layout, sha256, Erased(versions=(gone.id,)))

    assert (unreached, again) == ([], [])
    assert [version.id for version in versions.all()] == [kept.id]
    assert versions.marks().aliases == {}
    assert versions.record_of(gone.id).id == gone.id
    assert versions.deleted() == []


SEEN = ((0, 2),)  # branch 0 had the file in its second step


def test_a_version_made_while_the_model_was_trained_again_goes_if_it_has_seen_the_file(layout, sha256):
    paths = [publish(layout, number, step=number) for number in (1, 2)]
    versions = Versions(layout.models, clock=FakeClock())
    clean, tainted = (versions.create(path, made_by="hand", trained=lambda parent: ()) for path in paths)
    deleted = versions.create(paths[1], made_by="file", trained=lambda parent: ())
    versions.delete(deleted)

    assert erase(layout, sha256, Erased(seen=SEEN)) == []

    assert [version.id for version in versions.all()] == [clean.id]
    assert versions.deleted() == []
    assert [path.exists() for path in paths] == [True, False]
    assert versions.record_of(tainted.id).id == tainted.id


def test_a_version_made_while_the_checkpoints_went_goes_too(layout, sha256, monkeypatch):
    paths = [publish(layout, number, step=number) for number in (1, 2)]
    versions = Versions(layout.models, clock=FakeClock())

    def make_one(place):
        if place == "forget.versions_erased":
            versions.create(paths[1], made_by="hand", trained=lambda parent: ())

    monkeypatch.setattr("trainer.forgetting.erasing.failpoint", make_one)

    assert erase(layout, sha256, Erased(seen=SEEN)) == []

    assert versions.all() == []


def test_versions_that_are_to_be_kept_stay_also_if_they_are_new(layout, sha256):
    versions = Versions(layout.models, clock=FakeClock())
    kept = versions.create(publish(layout, 2, step=2), made_by="hand", trained=lambda parent: ())

    assert erase(layout, sha256, Erased(seen=SEEN, keeps_versions=True)) == []

    assert [version.id for version in versions.all()] == [kept.id]


def test_damaged_checkpoints_that_were_put_aside_go_if_they_may_have_seen_the_file(layout, sha256):
    checkpoints = layout.models / "checkpoints"
    for step in (1, 2):
        publish(layout, step, step=step).rename(checkpoints / f"corrupt-step-00000000{step}")
    for name in ("corrupt-step-000000001-2", "corrupt-step-000000003"):  # of which only the names tell
        (checkpoints / name).mkdir()
        (checkpoints / name / MANIFEST_NAME).write_text("{")
    (checkpoints / "corrupt-step-000000004").mkdir()

    assert erase(layout, sha256, Erased(seen=SEEN)) == []

    left = sorted(path.name for path in checkpoints.iterdir())
    assert left == ["corrupt-step-000000001", "corrupt-step-000000001-2"]


def test_what_a_killed_backup_has_left_goes_but_not_what_a_running_one_has(layout, sha256):
    staging = layout.models / ".backup"
    staging.mkdir()
    with FileLock(layout.models / ".backup.lock"):
        [problem] = erase(layout, sha256, Erased())
    assert problem.startswith(".backup: a backup is being made")
    assert staging.exists()

    assert erase(layout, sha256, Erased()) == []

    assert not staging.exists()


def test_no_version_can_be_made_while_base_models_are_judged_and_removed(layout, sha256, monkeypatch):
    base = layout.models / "bases" / "step-000000001-abc"
    base.mkdir(parents=True)
    held = []

    def look(models):
        with (models / "versions" / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(True)
        return {}

    monkeypatch.setattr("trainer.forgetting.erasing.needed_bases", look)

    assert erase(layout, sha256, Erased(bases=(base.name,))) == []

    assert held == [True]
    assert not base.exists()


def test_the_notes_that_the_order_names_go_and_nothing_outside(layout, sha256):
    note = layout.failed / "bad.jsonl.rejected.jsonl"
    note.write_text(json.dumps(BAD[0]))

    assert erase(layout, sha256, Erased(files=(str(note.relative_to(layout.base)),))) == []

    assert not note.exists()


def test_rejected_rows_of_another_content_of_its_name_stay_and_are_named(layout, sha256):
    note = layout.failed / "bad.jsonl.rejected.jsonl"
    note.write_text(json.dumps(BAD[0]))
    names = tuple(
        str(path.relative_to(layout.base)) for path in (note, layout.failed / "gone.rejected.jsonl")
    )

    unreached = erase(layout, sha256, Erased(others=names))

    assert unreached == [f"{note}: rejected rows of another content of that name"]
    assert note.exists()


def test_a_base_model_goes_but_not_what_is_needed_or_open(layout, sha256):
    bases = layout.models / "bases"
    names = [f"step-00000000{number}-abc" for number in range(4)]
    for name in names[:3]:
        (bases / name).mkdir(parents=True)
        write_jsonl(bases / name / "weights", rows(1))
    merge = merge_into(names[1])
    needing = publish(layout, 1, step=1, consolidations=(merge,))
    leftover = bases / f".trash-{names[3]}"  # as a kill has left it
    leftover.mkdir()

    with (bases / names[2] / "weights").open("rb"):
        unreached = erase(layout, sha256, Erased(bases=tuple(names)))

    assert unreached == [
        f"bases/{names[1]} is the base model of {needing.name}",
        f"bases/{names[2]} is used by another program; stop it and ask again",
    ]
    assert sorted(path.name for path in bases.iterdir()) == names[1:3]


def test_a_version_in_the_trash_is_freed(layout, sha256):
    versions = Versions(layout.models, clock=FakeClock())
    made = versions.create(publish(layout, 1, step=1), made_by="hand", trained=lambda parent: ())
    versions.delete(made)

    assert erase(layout, sha256, Erased(versions=(made.id,))) == []

    assert versions.deleted() == []
