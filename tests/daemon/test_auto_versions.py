"""Versions by policy: made when they are due, once, and made up for after a crash."""

import json
import os
import time

import pytest

from daemon.auto_versions import RETRY_AFTER_S, AutoVersions, Milestones, is_due
from daemon.journal.events import (
    CheckpointSaved,
    GatePassed,
    GateRefused,
    JobFinished,
    VersionMade,
    VersionNotMade,
)
from daemon.journal.journal import Journal, LedgerRows
from daemon.mains.make_version import last_written_before
from tests.health import publish
from tests.support import FakeClock, eventually
from trainer.config.version_settings import VersionSettings
from trainer.protocol import one_shot
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.new_version import NewVersion
from trainer.protocol.one_shot import OrderRefused
from trainer.protocol.text import utc_text

HOUR = 3600.0
NOON = 1_790_000_000.0 - 1_790_000_000.0 % 86_400 + 12 * HOUR
"""Of some day, in UTC."""


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def judged(outcome="passed", kind=GatePassed):
    return kind(outcome=outcome, files=("a.jsonl",), from_step=0, global_step=1, reason="1.0 against 1.0")


COMPLETED = JobFinished(job_id="1", file="a.jsonl", outcome="completed", rows=1, steps=1, reason=None)
FAILED = JobFinished(job_id="1", file="a.jsonl", outcome="failed", rows=1, steps=1, reason="bad")
SAVED = CheckpointSaved(path="models/checkpoints/step-1", global_step=1, seconds=0.1)


class Bench:
    """The part of a daemon that makes versions by policy, and a process that only pretends."""

    def __init__(self, layout, ledger, monkeypatch):
        self.layout = layout
        self.ledger = ledger
        self.clock = FakeClock(NOON)
        self.events = []
        self.orders = []
        self.answers = []
        monkeypatch.setattr(one_shot, "ask", self._ask)
        self.start()

    def start(self):
        """Begin as a daemon that has just started does."""
        milestones = Milestones()
        journal = Journal([LedgerRows(self.ledger), milestones, self], clock=self.clock)
        self.record = journal.record
        self.versions = AutoVersions(
            self.layout, journal, milestones, on_result=lambda: None, clock=self.clock, monotonic=self.clock
        )

    def on_event(self, event, at):
        self.events.append(event)

    def flush(self):
        pass

    def _ask(self, module, order, answer):
        self.orders.append(order.checkpoint or order.written_before)
        answer = self.answers.pop(0) if self.answers else len(self.orders)
        if isinstance(answer, Exception):
            raise answer
        return NewVersion(id=f"v{answer:03}", made_by=order.policy, global_step=9)

    def turn(self, policy):
        """Do what the loop does, until nothing is left to do at this time."""
        for _ in range(3):
            self.ledger.commit()
            self.versions.look_after(VersionSettings(auto=policy))
            eventually(lambda: self.versions._result or not self.versions._running, timeout_s=10, what="it")
        self.ledger.commit()

    def made(self):
        return [event.version for event in self.events if isinstance(event, VersionMade)]


@pytest.fixture
def bench(layout, ledger, monkeypatch):
    publish(layout, 1, step=3, written_at=utc_text(NOON - HOUR))
    return Bench(layout, ledger, monkeypatch)


# ---- when


@pytest.mark.parametrize(
    "policy, first_at, due",
    [
        ("never", NOON - 48 * HOUR, False),
        ("file", None, False),
        ("file", NOON, True),
        ("gate", NOON, True),
        ("day", None, False),
        ("day", NOON - 12 * HOUR, False),
        ("day", NOON - 12 * HOUR - 0.001, True),
    ],
)
def test_a_version_is_due_when_its_policy_says_so(policy, first_at, due):
    assert is_due(policy, first_at and utc_text(first_at), now=NOON) == due


def test_a_day_is_that_of_the_machines_clock(monkeypatch):
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()

    assert not is_due("day", utc_text(NOON - 4 * HOUR), now=NOON)
    assert is_due("day", utc_text(NOON - 6 * HOUR), now=NOON)


@pytest.mark.parametrize(
    "policy, events, made",
    [
        ("file", [COMPLETED], ["v001"]),
        ("file", [FAILED, SAVED], []),
        ("gate", [COMPLETED, judged()], []),  # no checkpoint is known to have it
        ("gate", [judged(), FAILED], []),
        ("gate", [judged("admitted"), judged("unjudged"), COMPLETED], []),
        ("gate", [judged("refused", GateRefused), COMPLETED], []),
        ("gate", [judged(), COMPLETED], ["v001"]),
        ("gate", [judged(), judged(), COMPLETED, COMPLETED], ["v001"]),
    ],
)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_policy_waits_for_its_own_events_only(bench, policy, events, made, is_restarted):
    if not is_restarted:
        bench.turn(policy)
    for event in events:
        bench.clock.now += 1
        bench.record(event)
    if is_restarted:
        bench.ledger.commit()
        bench.start()

    bench.turn(policy)

    assert bench.made() == made


def test_a_file_that_passed_before_a_restart_is_versioned_when_it_is_completed(bench):
    bench.record(judged())
    bench.ledger.commit()
    bench.start()
    bench.turn("gate")
    assert bench.made() == []

    bench.record(COMPLETED)
    bench.turn("gate")

    assert bench.made() == ["v001"]


def test_without_a_policy_nothing_is_made_or_read(bench, monkeypatch):
    monkeypatch.setattr("daemon.auto_versions.newest_order", lambda *given: pytest.fail("it was read"))
    bench.record(COMPLETED)

    bench.turn("never")

    assert (bench.orders, bench.versions.is_busy, bench.versions.due_at()) == ([], False, float("inf"))


def test_files_that_share_a_checkpoint_share_a_version(bench):
    for _ in range(3):
        bench.record(COMPLETED)
    bench.turn("file")

    assert bench.made() == ["v001"]
    assert not bench.versions.is_busy


def test_what_is_completed_while_a_version_is_made_gets_one_too(bench):
    bench.record(COMPLETED)
    bench.ledger.commit()
    bench.versions.look_after(VersionSettings(auto="file"))
    bench.clock.now += 1.0
    bench.record(COMPLETED)

    bench.turn("file")

    assert bench.made() == ["v001", "v002"]


# ---- the day


def test_a_day_gets_a_version_once_it_is_over_of_its_last_checkpoint(bench):
    bench.record(SAVED)
    bench.turn("day")
    assert bench.orders == []
    assert bench.versions.due_at() == NOON + 12 * HOUR

    bench.clock.now += 13 * HOUR
    bench.turn("day")

    assert bench.orders == [utc_text(NOON + 12 * HOUR)]


def test_the_last_checkpoint_of_a_day_is_the_newest_that_can_be_read_from_before_its_end(layout):
    before, after, damaged = utc_text(NOON - 1), utc_text(NOON + 1), utc_text(NOON - 0.5)
    publish(layout, 1, step=3, written_at=before)
    publish(layout, 2, step=5, written_at=before)
    (publish(layout, 3, step=7, written_at=damaged) / "MANIFEST.json").write_text("{")
    publish(layout, 4, step=9, written_at=after)

    assert last_written_before(layout.models, utc_text(NOON)) == "step-000000005-2"
    assert last_written_before(layout.models, utc_text(NOON - 2)) == "step-000000003-1"  # it comes closest


def test_without_a_checkpoint_there_is_no_last_one(layout):
    with pytest.raises(FileNotFoundError, match="has no checkpoint that can be read"):
        last_written_before(layout.models, utc_text(NOON))


def test_a_day_without_a_step_gets_none(bench):
    bench.record(SAVED)
    bench.clock.now += 12 * HOUR
    bench.turn("day")

    bench.clock.now += 48 * HOUR
    bench.turn("day")

    assert bench.made() == ["v001"]
    assert bench.versions.due_at() == float("inf")


def test_what_was_saved_after_midnight_belongs_to_the_next_day(bench):
    bench.record(SAVED)
    bench.clock.now += 12 * HOUR + 5
    bench.record(SAVED)
    bench.turn("day")
    assert len(bench.made()) == 1

    bench.clock.now += 24 * HOUR
    bench.turn("day")

    assert len(bench.made()) == 2


def test_a_day_that_ended_while_no_daemon_ran_is_made_up_for(bench):
    bench.record(SAVED)
    bench.ledger.commit()
    bench.clock.now += 60 * HOUR
    bench.start()

    bench.turn("day")

    assert bench.orders == [utc_text(NOON + 60 * HOUR)]


# ---- crashes


def test_a_daemon_that_died_before_it_noted_the_version_notes_it_later(bench):
    bench.record(COMPLETED)
    bench.ledger.commit()
    bench.versions.look_after(VersionSettings(auto="file"))  # and dies
    eventually(lambda: bench.versions._result, timeout_s=10, what="the answer")
    bench.start()
    bench.answers = [1]  # the version that is there

    bench.turn("file")

    assert bench.made() == ["v001"]


def test_what_a_version_covers_is_not_made_again_after_a_restart(bench):
    bench.record(COMPLETED)
    bench.turn("file")
    bench.clock.now += 1.0
    bench.start()

    bench.turn("file")

    assert (bench.made(), bench.orders) == (["v001"], ["step-000000003-1"])


def test_what_was_completed_after_the_last_version_is_made_up_for(bench):
    bench.record(COMPLETED)
    bench.turn("file")
    bench.clock.now += 1.0
    bench.record(COMPLETED)
    bench.ledger.commit()
    bench.start()

    bench.turn("file")

    assert bench.made() == ["v001", "v002"]


def test_a_version_that_is_noted_already_is_not_noted_twice(bench):
    bench.record(COMPLETED)
    bench.turn("file")
    bench.clock.now += 1.0
    bench.record(COMPLETED)
    bench.answers = [1]

    bench.turn("file")

    assert bench.made() == ["v001"]
    assert not bench.versions.is_busy


def test_a_failure_is_said_and_tried_again_later(bench):
    bench.answers = [OrderRefused("the disk is full", FaultKind.ENVIRONMENT)]
    bench.record(COMPLETED)
    bench.turn("file")
    [failure] = [event for event in bench.events if isinstance(event, VersionNotMade)]
    assert failure.alert == ("versions", "no version was made: the disk is full; it is tried again in 600 s")
    assert bench.versions.due_at() == NOON + RETRY_AFTER_S
    assert not bench.versions.is_busy  # or a daemon that leaves when all is trained would wait

    bench.clock.now += RETRY_AFTER_S
    bench.turn("file")

    assert bench.made() == ["v002"]


def test_a_fault_that_nobody_thought_of_ends_the_try_and_is_in_the_log(bench, caplog):
    bench.answers = [ZeroDivisionError("of ours")]
    bench.record(COMPLETED)

    bench.turn("file")

    [failure] = [event for event in bench.events if isinstance(event, VersionNotMade)]
    assert "of ours" in failure.message
    assert not bench.versions.is_busy
    assert "Traceback" in caplog.text
    bench.clock.now += RETRY_AFTER_S
    bench.turn("file")
    assert bench.made() == ["v002"]


def test_without_a_checkpoint_it_is_said(bench):
    (bench.layout.models / "current_model").unlink()
    bench.record(COMPLETED)

    bench.turn("file")

    [failure] = [event for event in bench.events if isinstance(event, VersionNotMade)]
    assert "current_model" in failure.message
    assert bench.orders == []


# ---- the whole of it


@pytest.mark.long
def test_a_daemon_that_leaves_when_all_is_trained_has_made_its_version(rig):
    publish(rig.layout, 1, step=3)
    rig.configure(versions={"auto": "file"})
    rig.drop("a.jsonl")

    assert rig.start(drain=True).left() == 0

    record = json.loads((rig.layout.models / "versions" / "v001" / "VERSION.json").read_bytes())
    assert (record["made_by"], record["checkpoint"]) == ("file", "step-000000003-1")
    assert [(file["name"], file["outcome"]) for file in record["trained"]] == [("a.jsonl", "completed")]
    assert rig.events("version_made") == ["made version v001 of step 3 (versions.auto: file)"]


@pytest.mark.long
def test_a_process_that_is_killed_in_the_middle_leaves_nothing_or_all(rig, monkeypatch):
    publish(rig.layout, 1, step=3)
    rig.configure(versions={"auto": "file"})
    monkeypatch.setenv("TRAINING_FAILPOINT", "version.staged")
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    rig.until(lambda: rig.events("version_not_made"), "the failure")
    assert not (rig.layout.models / "versions" / "v001").exists()
    rig.stop()

    monkeypatch.delenv("TRAINING_FAILPOINT")
    rig.start()

    rig.until(lambda: rig.events("version_made"), "the version")
    assert sorted(os.listdir(rig.layout.models / "versions")) == [".lock", "v001"]
