"""What happens is told once, in order, and not too often, whoever is killed and when."""

import json

import pytest

from daemon.notify.delivery import NotDelivered
from daemon.notify.notifier import Notifier, Rules
from tests.support import FakeClock, PowerCut
from trainer.protocol.notifiable import NOTIFIABLE
from trainer.protocol.text import utc_text

START = 1_000_000_000.0


class Receiver:
    """Receives notifications; it fails as often as `failures` has errors."""

    def __init__(self):
        self.bodies = []
        self.at = []
        self.failures = []

    def __call__(self, id, body, now):
        if self.failures and (error := self.failures.pop(0)):
            raise error
        assert json.loads(body)["id"] == id
        self.bodies.append(json.loads(body))
        self.at.append(now)

    @property
    def events(self):
        return [body["event"] for body in self.bodies]


@pytest.fixture
def told():
    return Receiver()


@pytest.fixture
def clock():
    return FakeClock(START)


@pytest.fixture
def run(layout, ledger, told, clock):
    """Run a notifier until it has nothing to do; it sees all that was recorded."""

    def run(*, events=tuple(NOTIFIABLE), max_per_minute=10, repeat_after_s=3600.0, waits=50, first_event=0):
        ledger.commit()

        def wait(seconds):
            nonlocal waits
            clock.now += seconds
            waits -= 1
            return waits > 0

        rules = Rules(events=list(events), max_per_minute=max_per_minute, repeat_after_s=repeat_after_s)
        notifier = Notifier(
            layout.ledger_file,
            layout.notify_file("webhook"),
            told,
            rules,
            first_event=first_event,
            place={"host": "box", "base_dir": "/srv"},
            wait=wait,
            clock=clock,
        )
        notifier.run(interval_s=1.0)
        return notifier.outbox

    return run


@pytest.fixture
def record(ledger, clock):
    def record(kind, message="it was", **data):
        ledger.add_event(kind, message, "1", data, at=utc_text(clock.now), level="info")

    return record


def test_each_kind_of_event_is_told_as_what_it_is(record, run, told):
    record("finished", "completed a.jsonl", file="a.jsonl", outcome="completed", rows=3)
    record("finished", file="b.jsonl", outcome="failed")
    record("finished", file="c.jsonl", outcome="skipped")
    record("failed", file="d.jsonl")
    record("blocked", "no disk")
    record("worker_crashed", "killed")
    record("worker_recovered")
    record("queue_empty")
    record("checkpoint")

    run()

    assert told.events == ["completed", "failed", "failed", "blocked", "crashed", "recovered", "queue_empty"]
    first = told.bodies[0]
    assert (first["message"], first["file"], first["job_id"]) == ("completed a.jsonl", "a.jsonl", "1")
    assert first["data"] == {"file": "a.jsonl", "outcome": "completed", "rows": 3}
    assert (first["host"], first["base_dir"], first["count"]) == ("box", "/srv", 1)


def test_only_what_is_wanted_is_told(record, run, told):
    record("finished", file="a.jsonl", outcome="completed")
    record("queue_empty")

    run(events=["queue_empty"])

    assert told.events == ["queue_empty"]


def test_what_was_before_the_first_start_is_not_told(record, run, told):
    record("queue_empty")
    record("queue_empty")

    run(first_event=1)

    assert [body["id"].rpartition("-")[2] for body in told.bodies] == ["2"]


def test_a_restart_repeats_nothing_and_misses_nothing(record, run, told):
    record("queue_empty")
    run()
    record("queue_empty")  # while no notifier runs

    run(first_event=99)
    run()

    assert [body["id"].rpartition("-")[2] for body in told.bodies] == ["1", "2"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_kill_repeats_at_most_the_one_that_was_under_way(record, run, told, number):
    for file in ("a", "b", "c"):
        record("finished", file=file, outcome="completed")
    told.failures = [None] * number + [PowerCut()]
    with pytest.raises(PowerCut):
        run()

    run()

    assert [body["file"] for body in told.bodies] == ["a", "b", "c"]


def test_the_same_crash_is_not_told_again_and_another_is(record, run, told, clock):
    for pid in (11, 12):
        record("worker_crashed", f"worker {pid} was killed")
    record("worker_crashed", "out of memory")
    run()
    clock.now += 3600

    record("worker_crashed", "worker 13 was killed")
    run()

    assert [body["message"] for body in told.bodies] == [
        "worker 11 was killed", "out of memory", "worker 13 was killed",
    ]  # fmt: skip


def test_the_end_of_what_was_not_told_is_not_told(record, run, told):
    for _ in range(3):
        record("blocked", "no disk")
        record("unblocked")

    run()

    assert told.events == ["blocked", "recovered"]


def test_too_many_are_merged_and_none_is_missed(record, run, told):
    for number in range(25):
        record("finished", f"completed {number}.jsonl", file=f"{number}.jsonl", outcome="completed")
    record("finished", file="bad.jsonl", outcome="failed")
    record("queue_empty")

    run(max_per_minute=3)

    assert [(body["event"], body["count"]) for body in told.bodies] == [
        ("completed", 25), ("failed", 1), ("queue_empty", 1),
    ]  # fmt: skip
    assert told.bodies[0]["files"] == [f"{number}.jsonl" for number in range(5, 25)]
    assert told.bodies[0]["message"] == "completed 24.jsonl; and 24 more of this kind before"


def test_no_minute_has_more_than_its_share(record, run, told):
    for kind in ("blocked", "worker_crashed", "worker_recovered", "queue_empty"):
        record(kind, kind)

    run(max_per_minute=2)

    assert len(told.at) == 4
    assert all(later - earlier >= 60 for earlier, later in zip(told.at, told.at[2:], strict=False))


def test_what_does_not_arrive_is_tried_again_until_it_does(record, run, told, clock):
    record("queue_empty")
    told.failures = [NotDelivered("no route")] * 12

    outbox = run()

    assert told.events == ["queue_empty"]
    assert (outbox.problem, outbox.lost) == (None, 0)
    assert clock.now - START > 1000  # and less and less often


def test_what_is_refused_for_good_is_lost_and_counted(record, run, told):
    record("finished", file="a", outcome="completed")
    record("queue_empty")
    told.failures = [NotDelivered("it answers 410", is_final=True)]

    outbox = run()

    assert told.events == ["queue_empty"]
    assert outbox.lost == 1


def test_after_a_day_there_is_no_use_in_telling(record, run, told, clock):
    record("queue_empty")
    clock.now += 25 * 3600

    run()

    assert told.events == []


def test_at_the_end_each_is_tried_once_and_kept_for_the_next_start(record, run, told):
    record("queue_empty")
    told.failures = [NotDelivered("no route")] * 2

    outbox = run(waits=1)
    assert [one["event"] for one in outbox.pending] == ["queue_empty"]
    run()

    assert told.events == ["queue_empty"]


def test_a_file_that_is_none_of_ours_is_replaced(record, run, told, layout):
    layout.notify_file("webhook").write_text("[]")
    record("queue_empty")

    run()

    assert told.events == ["queue_empty"]
    assert json.loads(layout.notify_file("webhook").read_text())["position"]["event_id"] == 1
