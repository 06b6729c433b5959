"""What a new daemon makes of the queue that an old one left, wherever that one was cut off."""

import gc
import os
from collections import Counter

import pytest

from daemon.files.identity import identity_of
from daemon.jobs.job_queue import Ending, JobQueue
from daemon.journal.journal import Journal, LedgerRows
from daemon.ledger.ledger import Ledger
from tests.daemon.filled_queue import events, order_of, put, states
from tests.support import FakeClock, PowerCut, job_for, rows, write_jsonl
from trainer.protocol.files import move_durably
from trainer.protocol.job import FaultKind, Outcome, Priority, Reason

NOBODYS_PID = 4_999_999  # no kernel gives away so high a number


def restarted(layout, ledger):
    """Return the queue of a new daemon with the files it must check."""
    ledger.commit()
    queue = JobQueue(layout, ledger, Journal([LedgerRows(ledger)]))
    return queue, queue.recover()


def all_files(layout):
    """Return where users' files lie: name -> folders."""
    found = {}
    folders = [layout.inbox, layout.processing]
    folders += [layout.waiting(priority) for priority in Priority]
    folders += [layout.finished(outcome) for outcome in Outcome]
    for folder in folders:
        for path in folder.glob("*.jsonl"):
            found.setdefault(path.name, []).append(folder.name)
    return found


def test_waiting_files_wait_again_in_the_same_order(queue, layout, ledger):
    put(queue, layout, "b.jsonl", id="1")
    put(queue, layout, "a.jsonl", id="2")
    put(queue, layout, "c.jsonl", id="3", priority=Priority.HIGH)

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert after.next().id == "3"
    assert after.counts().normal == 2


def test_every_waiting_file_is_looked_at_once_and_no_job_is_read_before_it_is_needed(
    queue, layout, ledger, monkeypatch
):
    names = [f"{number:02}.jsonl" for number in range(20)]
    for number, name in enumerate(names):
        put(queue, layout, name, id=f"{number:02}", priority=list(Priority)[number % 3])
    looks, read = Counter(), []
    stat, lstat, find_job = os.stat, os.lstat, ledger.find_job

    def counting(look):
        def counted(path, **options):
            looks[os.path.basename(path) if isinstance(path, str | os.PathLike) else path] += 1
            return look(path, **options)

        return counted

    monkeypatch.setattr(os, "stat", counting(stat))
    monkeypatch.setattr(os, "lstat", counting(lstat))
    monkeypatch.setattr(ledger, "find_job", lambda job_id: read.append(job_id) or find_job(job_id))

    after, strangers = restarted(layout, ledger)

    assert (len(after), strangers, read) == (20, [], [])
    assert {name: looks[name] for name in names} == dict.fromkeys(names, 1)
    assert (after.next().id, read) == ("00", ["00"])


def test_hard_links_wait_again_each_under_its_own_name(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")
    os.link(path, path.with_name("b.jsonl"))
    link = path.with_name("b.jsonl")
    queue.add(job_for(link, id="2"), link, identity_of(link.lstat()))

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert order_of(after) == ["a.jsonl", "b.jsonl"]
    assert states(ledger) == {"1": "completed", "2": "completed"}


def test_files_that_exchanged_their_names_while_no_daemon_ran_keep_their_places(queue, layout, ledger):
    first, second = (put(queue, layout, name, id=id) for name, id in (("a.jsonl", "1"), ("b.jsonl", "2")))
    aside = layout.base / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert order_of(after) == ["b.jsonl", "a.jsonl"]


def test_a_file_in_processing_is_trained_first(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1", priority=Priority.LOW)
    queue.start(queue.next())
    put(queue, layout, "b.jsonl", id="2", priority=Priority.HIGH)

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert after.next().id == "1"
    assert [job.id for job in after.started()] == ["1"]


def test_begun_files_come_again_in_the_order_of_their_begins(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2", priority=Priority.HIGH)
    put(queue, layout, "c.jsonl", id="3")
    for id in ("2", "3", "1"):
        queue.start(queue.find(id))

    after, _ = restarted(layout, ledger)

    assert [job.id for job in after.started()] == ["2", "3", "1"]


def test_a_file_that_was_begun_but_not_noted_comes_after_those_that_were(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2")
    queue.start(queue.find("1"))
    queue.preempt("1")
    queue.start(queue.find("2"))

    def cut(*arguments):
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "note_start", cut)
        with pytest.raises(PowerCut):
            queue.start(queue.find("1"))
    after, _ = restarted(layout, ledger)

    assert [job.id for job in after.started()] == ["2", "1"]


@pytest.mark.parametrize("is_linked", [True, False])
def test_a_cut_while_a_file_was_set_aside_leaves_it_once(queue, layout, ledger, is_linked):
    put(queue, layout, "a.jsonl", id="1")
    _, path = queue.start(queue.next())
    os.link(path, layout.waiting(Priority.NORMAL) / "a.jsonl")
    if not is_linked:
        path.unlink()

    after, strangers = restarted(layout, ledger)

    assert all_files(layout) == {"a.jsonl": ["processing" if is_linked else "normal"]}
    assert strangers == []
    assert states(ledger) == {"1": "processing" if is_linked else "waiting"}
    assert after.next().id == "1"


def test_a_cut_while_a_replaced_file_gets_its_place_back_loses_neither(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    job, path = queue.start(queue.next())
    layout.kept_files.mkdir()
    os.link(path, layout.kept_files / job.sha256)
    write_jsonl(layout.base / "other", rows(5)).replace(path)
    assert queue.look() == [path]

    def cut(*arguments):
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("daemon.jobs.job_queue.move_durably", cut)
        with pytest.raises(PowerCut):
            queue.make_way(path)
    after, strangers = restarted(layout, ledger)

    assert strangers == [path]
    assert [(job.id, job.name) for job in after.started()] == [("1", "a-2.jsonl")]
    assert states(ledger) == {"1": "processing"}


def test_files_moved_by_hand_while_no_daemon_ran_are_followed(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1", priority=Priority.LOW)
    path.rename(layout.waiting(Priority.HIGH) / "z.jsonl")

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert (after.next().id, after.next().name, after.next().priority) == ("1", "z.jsonl", Priority.HIGH)


def test_a_file_put_back_from_processing_by_hand_waits_again(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    _, path = queue.start(queue.next())
    path.rename(layout.waiting(Priority.HIGH) / "a.jsonl")

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert after.started() == []
    assert states(ledger) == {"1": "waiting"}


def test_files_removed_while_no_daemon_ran_are_noted(queue, layout, ledger):
    put(queue, layout, "b.jsonl", id="2")
    _, path = queue.start(queue.next())
    path.unlink()
    put(queue, layout, "a.jsonl", id="1").unlink()

    after, strangers = restarted(layout, ledger)

    assert (len(after), strangers) == (0, [])
    assert states(ledger) == {"1": "removed", "2": "removed"}


def test_a_changed_file_is_a_stranger_to_be_checked_again(queue, layout, ledger):
    path = put(queue, layout, "a.jsonl", id="1")
    write_jsonl(path, rows(5))

    after, strangers = restarted(layout, ledger)

    assert strangers == [path]
    assert len(after) == 0


def test_without_its_ledger_every_file_is_checked_again_and_none_is_lost(queue, layout, ledger, tmp_path):
    waiting = put(queue, layout, "a.jsonl", id="1")
    put(queue, layout, "b.jsonl", id="2", priority=Priority.HIGH)
    _, begun = queue.start(queue.next())

    after, strangers = restarted(layout, Ledger(tmp_path / "new.sqlite3", clock=FakeClock()))

    assert set(strangers) == {waiting, begun}
    assert after.next() is None


# ---- a cut in the middle of a move


@pytest.mark.parametrize("survivor", ["processing", "waiting"])
def test_a_cut_while_a_file_was_begun_leaves_it_once(queue, layout, ledger, survivor):
    path = put(queue, layout, "a.jsonl", id="1")
    os.link(path, layout.processing / "a.jsonl")  # the new name is there, the old one not yet gone
    if survivor == "waiting":
        (layout.processing / "a.jsonl").unlink()

    after, strangers = restarted(layout, ledger)

    expected = "processing" if survivor == "processing" else "normal"
    assert all_files(layout) == {"a.jsonl": [expected]}
    assert strangers == []
    assert after.next().id == "1"


def test_a_cut_while_a_file_was_claimed_from_the_inbox_leaves_it_once(queue, layout, ledger):
    dropped = write_jsonl(layout.inbox / "high" / "a.jsonl", rows(2))
    claimed = layout.waiting(Priority.HIGH) / "a.jsonl"
    os.link(dropped, claimed)

    _, strangers = restarted(layout, ledger)

    assert not dropped.exists()
    assert strangers == [claimed]


def test_a_cut_while_a_file_was_put_away_leaves_it_once(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    job, path = queue.start(queue.next())
    ledger.finish_job(job, "completed", None, None)
    os.link(path, layout.finished(Outcome.COMPLETED) / "a.jsonl")

    after, strangers = restarted(layout, ledger)

    assert all_files(layout) == {"a.jsonl": ["recently_completed"]}
    assert strangers == []
    assert len(after) == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_a_cut_between_ledger_and_move_puts_the_file_away_as_the_ledger_says(
    queue, layout, ledger, outcome, monkeypatch
):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())

    def cut(*arguments):
        raise PowerCut

    monkeypatch.setattr("daemon.jobs.job_queue.move_all_durably", cut)
    with pytest.raises(PowerCut):
        queue.finish([Ending(job=job, outcome=outcome)])
    after, strangers = restarted(layout, ledger)

    assert all_files(layout) == {"a.jsonl": [layout.finished(outcome).name]}
    assert strangers == []
    assert after.next() is None


def test_the_reason_is_there_even_after_a_cut_between_ledger_and_move(queue, layout, ledger, monkeypatch):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    reason = Reason(kind=FaultKind.CRASH, message="it crashed", file="a.jsonl", at="now", attempts=3)

    def cut(*arguments):
        raise PowerCut

    monkeypatch.setattr("daemon.jobs.job_queue.move_all_durably", cut)
    with pytest.raises(PowerCut):
        queue.finish([Ending(job=job, outcome=Outcome.FAILED, reason=reason)])
    restarted(layout, ledger)

    note = layout.failed / "a.jsonl.reason.json"
    assert Reason.model_validate_json(note.read_text()) == reason


def test_recovering_twice_changes_nothing_more(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    queue.start(queue.next())
    os.link(layout.processing / "a.jsonl", layout.waiting(Priority.NORMAL) / "a.jsonl")

    restarted(layout, ledger)
    before = all_files(layout)
    after, strangers = restarted(layout, ledger)

    assert all_files(layout) == before == {"a.jsonl": ["processing"]}
    assert strangers == []
    assert after.next().id == "1"
    assert len(events(ledger, "moved")) == 1


def test_leftovers_of_writes_that_were_cut_off_are_swept_away_and_users_files_are_not(queue, layout, ledger):
    ours = [
        layout.failed / f".a.jsonl.reason.json.{NOBODYS_PID}.tmp",
        layout.failed / ".a.jsonl.rejected.jsonl.part",
        layout.waiting(Priority.HIGH) / f".{NOBODYS_PID}.part",
    ]
    users = [layout.inbox / ".a.jsonl.gCT2xx", layout.inbox / "a.part", layout.inbox / ".upload.part"]
    for path in ours + users:
        path.write_text("partial")

    restarted(layout, ledger)

    assert [path for path in ours if path.exists()] == []
    assert [path for path in users if not path.exists()] == []


def test_a_folder_in_processing_is_left_alone(queue, layout, ledger):
    (layout.processing / "folder.jsonl").mkdir()

    after, strangers = restarted(layout, ledger)

    assert strangers == []
    assert after.next() is None


def test_a_users_second_link_to_a_file_elsewhere_stays(queue, layout, ledger, tmp_path):
    original = write_jsonl(tmp_path / "original.jsonl", rows(1))
    os.link(original, layout.inbox / "linked.jsonl")

    restarted(layout, ledger)

    assert original.exists()
    assert (layout.inbox / "linked.jsonl").exists()


def test_a_finished_file_that_is_moved_back_by_hand_is_a_new_stranger(queue, layout, ledger):
    put(queue, layout, "a.jsonl", id="1")
    job, _ = queue.start(queue.next())
    queue.finish([Ending(job=job, outcome=Outcome.COMPLETED)])

    back = move_durably(layout.finished(Outcome.COMPLETED) / "a.jsonl", layout.waiting(Priority.NORMAL))
    after, strangers = restarted(layout, ledger)

    assert strangers == [back]
    assert after.next() is None


def test_garbage_is_not_looked_for_among_the_waiting_files_when_they_are_read_nor_later(
    queue, layout, ledger, monkeypatch
):
    put(queue, layout, "a.jsonl", id="1")
    open_files, seen = ledger.open_files, []
    monkeypatch.setattr(ledger, "open_files", lambda: seen.append(("reads", gc.isenabled())) or open_files())
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(("freezes", gc.isenabled())))

    restarted(layout, ledger)

    assert seen == [("reads", False), ("freezes", False)]
    assert gc.isenabled()
