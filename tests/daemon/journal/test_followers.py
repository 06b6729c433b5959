"""Whoever follows the journal misses nothing and repeats nothing, whoever is killed and when."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.journal.followers import GROUP, Position, UnknownFollower, follow, load_follower, next_batch
from daemon.journal.json_lines import AlreadyFollowed, JsonLines, UnusableFile
from daemon.ledger.ledger import Ledger
from daemon.ledger.reader import UnreadableLedger
from tests.faults.site import Site
from tests.support import FakeClock, rows
from trainer.protocol.failpoints import VARIABLE

FOLLOWER = Path(__file__).with_name("dying_follower.py")


def record(ledger, *kinds):
    for kind in kinds:
        ledger.add_event(kind, f"it was {kind}", "1", {"file": "a.jsonl"})
    ledger.commit()


def never():
    return False


def written(layout):
    text = (layout.logs / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


# ---- batches


def test_events_come_in_order_with_the_position_after_them(layout, ledger):
    record(ledger, "accepted", "started", "trained")

    first = next_batch(layout.ledger_file, None, limit=2)
    second = next_batch(layout.ledger_file, first.position, limit=2)

    assert [event.kind for event in first.events] == ["accepted", "started"]
    assert [event.kind for event in second.events] == ["trained"]
    assert second.events[0].data == {"file": "a.jsonl"}
    assert next_batch(layout.ledger_file, second.position, limit=9) is None


def test_what_is_not_committed_has_not_happened_yet(layout, ledger):
    ledger.commit()
    ledger.add_event("accepted", "not yet")

    assert next_batch(layout.ledger_file, None, limit=9) is None


def test_without_a_ledger_there_is_nothing_to_follow(layout):
    assert next_batch(layout.ledger_file, None, limit=9) is None


def test_another_ledger_is_followed_from_its_first_event(layout, ledger):
    record(ledger, "accepted", "started")
    before = next_batch(layout.ledger_file, None, limit=9).position
    for path in layout.ledger_file.parent.glob("ledger.sqlite3*"):
        path.rename(path.with_name(f"{path.name}.corrupt"))
    other = Ledger(layout.ledger_file, clock=FakeClock())
    record(other, "worker_started")

    batch = next_batch(layout.ledger_file, before, limit=9)
    other.close()

    assert [event.kind for event in batch.events] == ["worker_started"]
    assert batch.position.ledger != before.ledger


def test_events_that_the_ledger_no_longer_has_are_counted_as_lost(layout, ledger):
    record(ledger, *["accepted"] * 5)
    first = next_batch(layout.ledger_file, None, limit=1)
    ledger._database.write("DELETE FROM events WHERE id <= ?", (3,))
    ledger.commit()
    reports = []
    follower = JsonLines(layout.base)
    follower.take(first)

    follow(follower, layout, wait=never, report=reports.append)

    assert reports == ["2 events lost: the ledger keeps only the newest ones"]
    assert [line["id"] for line in written(layout)] == [1, 4, 5]


def test_a_ledger_that_cannot_be_read_is_reported_once_and_waited_for(layout):
    layout.ledger_file.write_bytes(b"no ledger at all" * 100)
    reports, looks = [], iter([True, True, False])

    with pytest.raises(UnreadableLedger):  # so that whoever asked for one look knows
        follow(JsonLines(layout.base), layout, wait=lambda: next(looks), report=reports.append)

    assert len(reports) == 1


# ---- followers


def test_a_follower_is_found_by_its_name(layout):
    assert isinstance(load_follower("json_lines", layout), JsonLines)


def test_an_installed_package_may_offer_one(layout, tmp_path, monkeypatch):
    (tmp_path / "their_tracker.py").write_text(
        "class Tracker:\n    def __init__(self, base):\n        self.base = base"
    )
    metadata = tmp_path / "their_tracker-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-tracker\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\ntracker = their_tracker:Tracker\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load_follower("tracker", layout).base == layout.base


def test_an_unknown_follower_is_refused_with_the_known_ones(layout):
    with pytest.raises(UnknownFollower, match=r"'nothing'; installed: json_lines"):
        load_follower("nothing", layout)


@pytest.mark.parametrize("torn", ["", '{"ledger": "x", "id": 3, "ki', "\x00\x00\x00"])
def test_a_line_that_was_cut_off_is_written_again(layout, torn):
    path = layout.logs / "events.jsonl"
    path.write_text('{"ledger": "x", "id": 1}\n{"ledger": "x", "id": 2}\n' + torn)

    follower = JsonLines(layout.base)

    assert follower.position() == Position("x", 2)
    assert path.read_text().endswith('"id": 2}\n')


def test_a_last_line_longer_than_any_block_is_found_whole(layout):
    path = layout.logs / "events.jsonl"
    long = json.dumps({"ledger": "x", "id": 2, "message": "m" * 200_000})
    path.write_text(
        '{"ledger": "x", "id": 1}\n' + long + "\n" + '{"ledger": "x", "id": 3, "mess' + "m" * 200_000
    )

    assert JsonLines(layout.base).position() == Position("x", 2)
    assert path.read_text().endswith(long + "\n")


def test_a_file_of_somebody_else_is_refused_and_left_alone(layout):
    path = layout.logs / "events.jsonl"
    path.write_text("not an event\n")

    with pytest.raises(UnusableFile, match="the last line is b'not an event"):
        JsonLines(layout.base)

    assert path.read_text() == "not an event\n"


def test_two_processes_do_not_write_one_file(layout):
    first = JsonLines(layout.base)

    with pytest.raises(AlreadyFollowed, match="stop it first"):
        JsonLines(layout.base)

    assert first.position() is None


def test_an_older_copy_of_the_ledger_is_followed_from_its_newest_event(layout, ledger):
    record(ledger, *["accepted"] * 5)
    position = next_batch(layout.ledger_file, None, limit=9).position
    ledger._database.write("DELETE FROM events WHERE id > ?", (2,))  # as if a backup had been put back
    ledger.commit()
    back = next_batch(layout.ledger_file, position, limit=9)
    record(ledger, "started")

    after = next_batch(layout.ledger_file, back.position, limit=9)

    assert "older copy" in back.notice
    assert [(event.id, event.kind) for event in after.events] == [(3, "started")]


def test_on_a_full_disk_a_follower_waits_and_nothing_is_half_written(layout, ledger, monkeypatch):
    record(ledger, "accepted", "started")
    follower, reports, write, failures = JsonLines(layout.base), [], os.write, iter([10])

    def full_once(descriptor, data):
        for num_bytes in failures:
            write(descriptor, data[:num_bytes])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr("daemon.journal.json_lines.os.write", full_once)
    looks = iter([True, False])

    follow(follower, layout, wait=lambda: next(looks), report=reports.append)

    assert [line["id"] for line in written(layout)] == [1, 2]
    assert len(reports) == 1


def test_what_was_written_is_for_the_owner_alone(layout):
    JsonLines(layout.base)

    assert (layout.logs / "events.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.long
def test_a_follower_killed_in_the_middle_of_any_write_misses_and_repeats_nothing(layout, ledger):
    record(ledger, *["accepted", "started", "trained"] * 5)
    for number in (1, 2, 1, 3):
        code = _run_follower(layout.base, number)
        assert code == -signal.SIGKILL

    assert _run_follower(layout.base, 1000) == 0

    assert [line["id"] for line in written(layout)] == list(range(1, 16))


@pytest.mark.long
def test_killed_daemons_and_followers_leave_every_event_once(tmp_path):
    site = Site(tmp_path / "base", tmp_path / "output.txt")
    for number in range(6):
        site.drop(f"{number}.jsonl", rows(2, start=10 * number))
    try:
        for place, writes in (("ledger.noted:4", 2), ("ledger.committed:8", 1), ("queue.put_away:2", 3)):
            site.start("drain", **{VARIABLE: place})
            _run_follower(site.layout.base, writes)  # while the daemon works
            site.left()
            _run_follower(site.layout.base, writes)
        site.start("drain")
        assert site.left() == 0
    finally:
        site.kill()

    assert _run_follower(site.layout.base, 1000) == 0

    ids = [line["id"] for line in written(site.layout)]
    assert ids == [row["id"] for row in site.read("SELECT id FROM events ORDER BY id")]
    assert len(ids) > 20


def _run_follower(base: Path, writes: int) -> int:
    root = str(Path(__file__).parents[3])
    command = [sys.executable, str(FOLLOWER), str(base), str(writes)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": root}).returncode
