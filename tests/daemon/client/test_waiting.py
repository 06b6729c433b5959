"""Waiting for a file: until its job has ended, whatever it is called by then, and not a moment longer."""

import errno
import os
import time

import pytest

from daemon.client import Client
from daemon.client.errors import NoSuchFile, NotEnded
from daemon.client.waiting import LONGEST_INTERVAL_S
from daemon.files.identity import identity_of
from daemon.jobs.reasons import write_reason
from tests.support import PATIENCE_S, job_for, rows, write_jsonl
from trainer.protocol.job import FaultKind, JobRecord, Outcome, Priority, Reason
from trainer.protocol.messages import StepReport
from trainer.protocol.text import utc_text

IDS = iter(f"20260101-000000-{number:06}" for number in range(1, 1000))


class Daemon:
    """Does to files and ledger what a daemon does, step by step."""

    def __init__(self, layout, ledger):
        self.layout = layout
        self.ledger = ledger

    def take_in(self, path, name=None):
        """Move a file into the queue, and make it a job."""
        target = self.layout.waiting(Priority.NORMAL) / (name or path.name)
        os.rename(path, target)
        job = job_for(target, id=next(IDS))
        self.ledger.add_job(job, identity_of(target.stat()), "waiting")
        self.ledger.commit()
        return job, target

    def end(self, job, path, outcome=Outcome.COMPLETED, reason=None):
        steps = [
            StepReport(
                global_step=number, job_id=job.id, file_step=number, rows=1, tokens=1, supervised_tokens=1,
                loss=1.0 / number, learning_rate=0.1, grad_norm=1.0, seconds=0.1,
            )
            for number in (1, 2)
        ]  # fmt: skip
        self.ledger.add_steps(steps)
        record = JobRecord(job_id=job.id, sha256="", outcome=outcome, rows_trained=2, steps=2)
        self.ledger.finish_job(job, outcome.value, record, reason)
        self.ledger.commit()
        target = self.layout.finished(outcome) / path.name
        os.rename(path, target)
        if reason:
            write_reason(target, reason)

    def refuse(self, path, why):
        """Put a file away that does not become a job."""
        target = self.layout.failed / path.name
        os.rename(path, target)
        write_reason(target, refusal(why))


@pytest.fixture
def daemon(layout, ledger):
    return Daemon(layout, ledger)


@pytest.fixture
def chat(tmp_path):
    return write_jsonl(tmp_path / "chat.jsonl", rows(2))


def refusal(why):
    return Reason(kind=FaultKind.BAD_DATA, message=why, file="chat.jsonl", at=utc_text(time.time()))


def at_listing(monkeypatch, number, act):
    """Do something just before the folder with this number is listed, counted from 0."""
    listed = []

    def counting(list_folder):
        def listing(folder):
            listed.append(folder)
            if len(listed) == number + 1:
                act()
            return list_folder(folder)

        return listing

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))


def after(sleeper, *acts):
    """Do one thing during each wait."""
    upcoming = iter(acts)
    sleeper.during = lambda: next(upcoming, lambda: None)()


def test_what_was_added_is_recognised_under_another_name(client, daemon, chat, sleeper):
    added = client.queue.add(chat, priority="high")
    taken = []
    after(
        sleeper,
        lambda: taken.extend(daemon.take_in(added.path, "chat-2.jsonl")),
        lambda: None,
        lambda: daemon.end(*taken),
    )

    ended = client.wait_for(added, timeout_s=60)

    assert (ended.name, ended.state, ended.job) == ("chat-2.jsonl", "completed", taken[0].id)
    assert (ended.steps, ended.rows_trained, ended.first_loss, ended.last_loss) == (2, 2, 1.0, 0.5)
    assert len(sleeper.slept) == 3


def refuse_links_out_of(monkeypatch, folder):
    """Behave as if this folder were on another file system."""
    link = os.link

    def refuse(source, target, **options):
        if folder in source.parents:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", refuse)


def test_what_was_added_is_recognised_on_another_file_system(rig, chat, monkeypatch):
    refuse_links_out_of(monkeypatch, rig.layout.inbox)
    client = Client(rig.layout.base)
    first, second = client.queue.add(chat), client.queue.add(chat)

    rig.start()
    ended = [client.wait_for(added, timeout_s=PATIENCE_S) for added in (second, first)]

    assert [file.name for file in ended] == ["chat-2.jsonl", "chat.jsonl"]
    assert sorted(rig.events("copied")) == [
        f"{name} came from another file system, so it was copied" for name in ("chat-2.jsonl", "chat.jsonl")
    ]


def test_what_was_added_on_another_file_system_and_refused_has_ended_too(rig, tmp_path, monkeypatch):
    refuse_links_out_of(monkeypatch, rig.layout.inbox)
    client = Client(rig.layout.base)
    added = client.queue.add(write_jsonl(tmp_path / "bad.jsonl", [{"what": "is this"}]))

    rig.start()
    ended = client.wait_for(added, timeout_s=PATIENCE_S)

    assert (ended.name, ended.state, ended.job) == ("bad.jsonl", "failed", None)


def test_an_earlier_job_of_the_same_name_is_not_mistaken_for_it(client, daemon, chat, sleeper):
    daemon.end(*daemon.take_in(client.queue.add(chat).path))
    added = client.queue.add(chat)

    with pytest.raises(NotEnded):
        client.wait_for(added, timeout_s=5)
    with pytest.raises(NotEnded):
        client.wait_for("chat.jsonl", timeout_s=5)


def test_a_name_means_the_file_that_is_open_when_it_is_asked_for(client, daemon, chat, sleeper):
    taken = daemon.take_in(client.queue.add(chat).path)
    after(sleeper, lambda: (daemon.end(*taken), client.queue.add(chat)))  # the next one has come already

    ended = client.wait_for("chat.jsonl", timeout_s=60)

    assert ended.job == taken[0].id


@pytest.mark.parametrize("by_id", [True, False])
def test_what_has_ended_already_is_not_waited_for(client, daemon, chat, sleeper, by_id):
    taken = daemon.take_in(client.queue.add(chat).path)
    daemon.end(*taken)

    ended = client.wait_for(taken[0].id if by_id else "chat.jsonl", timeout_s=0)

    assert (ended.state, sleeper.slept) == ("completed", [])


def test_a_file_that_failed_says_why(client, daemon, chat):
    added = client.queue.add(chat)
    reason = Reason(kind=FaultKind.BAD_DATA, message="too long", file="chat.jsonl", at="now")
    daemon.end(*daemon.take_in(added.path), Outcome.FAILED, reason)

    ended = client.wait_for(added, timeout_s=0)

    assert (ended.state, ended.reason) == ("failed", "too long")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_file_that_was_refused_before_it_became_a_job_has_ended_too(client, layout, chat, by_name):
    added = client.queue.add(chat)
    path = layout.failed / "chat.jsonl"
    os.rename(added.path, path)
    write_reason(path, Reason(kind=FaultKind.BAD_DATA, message="no rows", file="chat.jsonl", at="now"))

    ended = client.wait_for("chat.jsonl" if by_name else added, timeout_s=0)

    assert (ended.state, ended.job, ended.reason, ended.steps) == ("failed", None, "no rows", 0)


def test_a_file_that_was_put_back_is_waited_for_again(client, daemon, chat):
    job, path = daemon.take_in(client.queue.add(chat).path)
    daemon.end(job, path, Outcome.FAILED)
    client.queue.retry("chat.jsonl")

    with pytest.raises(NotEnded):
        client.wait_for("chat.jsonl", timeout_s=1)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_file_that_was_put_back_and_refused_then_does_not_show_its_earlier_job(
    client, daemon, layout, chat, by_name
):
    added = client.queue.add(chat)
    job, path = daemon.take_in(added.path)
    daemon.end(job, path, Outcome.FAILED, refusal("diverged").model_copy(update={"job_id": job.id}))
    client.queue.retry("chat.jsonl")
    daemon.refuse(layout.waiting(Priority.NORMAL) / "chat.jsonl", "no rows")

    ended = client.wait_for("chat.jsonl" if by_name else added, timeout_s=0)

    assert (ended.job, ended.reason) == (None, "no rows")


MOMENTS = range(14)
"""Listings of folders before which something happens; there are no more of them in one look."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_file_that_is_being_moved_is_coming(client, daemon, chat, monkeypatch, moment):
    added = client.queue.add(chat)
    waiting = daemon.layout.waiting(Priority.NORMAL) / "chat.jsonl"
    at_listing(monkeypatch, moment, lambda: os.rename(added.path, waiting))

    with pytest.raises(NotEnded):
        client.wait_for("chat.jsonl", timeout_s=0)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("by_name", [True, False])
def test_a_file_that_was_put_back_never_shows_its_earlier_job(
    client, daemon, chat, monkeypatch, moment, by_name
):
    added = client.queue.add(chat)
    daemon.end(*daemon.take_in(added.path), Outcome.FAILED)
    client.queue.retry("chat.jsonl")
    waiting = daemon.layout.waiting(Priority.NORMAL) / "chat.jsonl"

    def start():
        daemon.take_in(waiting)
        os.rename(waiting, daemon.layout.processing / "chat.jsonl")

    at_listing(monkeypatch, moment, start)

    with pytest.raises(NotEnded):
        client.wait_for("chat.jsonl" if by_name else added, timeout_s=0)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_file_whose_priority_changes_is_coming(client, daemon, chat, monkeypatch, moment):
    added = client.queue.add(chat)
    os.rename(added.path, daemon.layout.waiting(Priority.LOW) / "chat.jsonl")
    at_listing(monkeypatch, moment, lambda: client.queue.set_priority("chat.jsonl", Priority.HIGH))

    with pytest.raises(NotEnded):
        client.wait_for("chat.jsonl", timeout_s=0)


def test_it_looks_ever_less_often_and_never_past_the_end(client, chat, sleeper):
    added = client.queue.add(chat)

    with pytest.raises(NotEnded, match=r"chat\.jsonl has not ended within 10 s; the daemon is not running"):
        client.wait_for(added, timeout_s=10)

    assert sleeper.clock.now == pytest.approx(10)
    assert max(sleeper.slept) == LONGEST_INTERVAL_S
    assert len(sleeper.slept) < 16


@pytest.mark.parametrize("name", ["nothing.jsonl", "20260101-000000-999999"])
def test_what_nobody_knows_is_not_waited_for(client, name):
    with pytest.raises(NoSuchFile):
        client.wait_for(name, timeout_s=60)


def test_adding_leaves_nothing_but_the_copy(client, layout, chat):
    added = client.queue.add(str(chat), priority=Priority.HIGH)

    assert [path.name for path in (layout.inbox / "high").iterdir()] == ["chat.jsonl"]
    assert added.identity == identity_of(added.path.lstat())
    assert added.path.read_bytes() == chat.read_bytes()
