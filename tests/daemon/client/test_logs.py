"""The daemon's log, read from its end and followed, across rotations and in both of its forms."""

import logging

import pytest

from daemon.client import log_entries
from daemon.client.errors import NoLog
from daemon.client.logs import Logs
from tests.daemon.client.test_history import add_job
from trainer.protocol.logs import set_up_logging

AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def log(layout):
    return layout.logs / "daemon.log"


def write(log, *messages, mode="a", job=None):
    with log.open(mode) as file:
        for message in messages:
            file.write(f"{AT} INFO    {message}{f' job={job}' if job else ''}\n")


def rotate(log):
    """Do what the daemon's handler does when a file is full."""
    for number in range(5, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


def messages(entries):
    return [entry.message for entry in entries]


class Meanwhile:
    """What is done while a follower waits, one after another; then it is told to end."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self):
        if not self.steps:
            return False
        self.steps.pop(0)()
        return True


# ---- the newest entries


@pytest.mark.parametrize(
    "count, expected", [(0, []), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])]
)
def test_the_newest_entries_come_oldest_first(client, log, count, expected):
    write(log, "a", "b", "c")

    assert messages(client.logs.last(count)) == expected


def test_entries_are_read_on_in_the_files_that_were_rotated(client, log):
    write(log, "a", "b")
    rotate(log)
    write(log, "c")
    rotate(log)
    write(log, "d")

    assert messages(client.logs.last(3)) == ["b", "c", "d"]


@pytest.mark.parametrize("block_bytes", [1, 7, 64])
def test_lines_may_stand_across_the_blocks_that_are_read(client, log, block_bytes, monkeypatch):
    monkeypatch.setattr(log_entries, "BLOCK_BYTES", block_bytes)
    write(log, "first", "s\N{LATIN SMALL LETTER E WITH ACUTE}cond", "third")

    assert messages(client.logs.last(3)) == ["first", "s\N{LATIN SMALL LETTER E WITH ACUTE}cond", "third"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_the_daemon_logs_is_read_back_in_both_forms(client, log, form):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers = []
    set_up_logging(log, form=form)
    try:
        logging.getLogger("daemon").info(
            "accepted \x1b[31ma.jsonl", extra={"job_id": "20260101-000000-000001"}
        )
        try:
            raise ValueError("odd")
        except ValueError:
            logging.getLogger("daemon").exception("a turn failed")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers, root.level = before

    accepted, failed = client.logs.last(9)

    assert (accepted.level, accepted.message) == ("info", "accepted \\x1b[31ma.jsonl")
    assert (accepted.job_id, accepted.traceback) == ("20260101-000000-000001", [])
    assert accepted.at.endswith("Z")
    assert (failed.level, failed.message, failed.job_id) == ("error", "a turn failed", None)
    assert failed.traceback[0] == "Traceback (most recent call last):"
    assert failed.traceback[-1] == "ValueError: odd"


def test_what_stands_in_a_log_is_made_printable(client, log):
    log.write_bytes(
        b"\x1b]0;owned\x07\n" + f"{AT} INFO    \x1b[2J\xff\n".encode("latin-1") + b'{"at": 1, "x\n'
    )

    shown = client.logs.last(9)

    assert messages(shown) == ["\\x1b]0;owned\\x07", "\\x1b[2J\\xff"]
    assert shown[1].traceback == ['{"at": 1, "x']


def test_a_line_that_is_being_written_is_not_shown_yet(client, log):
    write(log, "whole")
    with log.open("a") as file:
        file.write(f"{AT} INFO    ha")

    assert messages(client.logs.last(9)) == ["whole"]


def test_where_no_daemon_has_run_the_message_says_so(client):
    with pytest.raises(NoLog, match=r"daemon\.log is not there: no daemon has run here yet; start"):
        client.logs.last(1)


# ---- about one file


def test_only_entries_about_a_file_or_its_jobs_are_shown(client, log, layout, ledger):
    job = add_job(ledger, layout, 1)  # 1.jsonl
    write(log, "worker started", "accepted 1.jsonl (2 rows)", "accepted 11.jsonl", "my-1.jsonl: odd")
    write(log, "saved", job=job.id)
    write(log, "training 1.jsonl: starts")

    by_name = client.logs.last(9, about="failed/1.jsonl")

    assert messages(by_name) == ["accepted 1.jsonl (2 rows)", "saved", "training 1.jsonl: starts"]
    assert messages(client.logs.last(9, about=job.id)) == ["saved"]
    assert messages(client.logs.last(1, about="1.jsonl")) == ["training 1.jsonl: starts"]


# ---- following


def test_a_follower_gets_the_newest_entries_and_then_what_is_added(client, log):
    write(log, "a", "b")
    meanwhile = Meanwhile(lambda: write(log, "c"), lambda: None, lambda: write(log, "d", "e"))

    found = list(client.logs.follow(1, wait=meanwhile))

    assert messages(found) == ["b", "c", "d", "e"]


def test_a_rotation_loses_and_repeats_no_entry(client, log):
    write(log, "a")

    def rotate_twice():
        write(log, "b")
        rotate(log)
        write(log, "c")
        rotate(log)
        write(log, "d")

    found = list(client.logs.follow(9, wait=Meanwhile(rotate_twice, lambda: write(log, "e"))))

    assert messages(found) == ["a", "b", "c", "d", "e"]


def test_a_follower_waits_while_the_new_file_is_not_there_yet(client, log):
    write(log, "a")
    meanwhile = Meanwhile(lambda: rotate(log), lambda: None, lambda: write(log, "b"))

    assert messages(client.logs.follow(9, wait=meanwhile)) == ["a", "b"]


def test_a_follower_may_come_before_the_first_daemon(client, log):
    assert messages(client.logs.follow(9, wait=Meanwhile(lambda: write(log, "a")))) == ["a"]


def test_half_a_line_is_followed_when_it_is_whole(client, log):
    write(log, "a")

    def append(text):
        with log.open("a") as file:
            file.write(text)

    meanwhile = Meanwhile(lambda: append(f"{AT} INFO    ha"), lambda: append("lf\n"))

    assert messages(client.logs.follow(0, wait=meanwhile)) == ["half"]


def test_a_follower_of_a_file_hears_of_jobs_that_come_later(client, log, layout, ledger):
    write(log, "a")

    def accept():
        job = add_job(ledger, layout, 7)
        write(log, "saved", job=job.id)
        write(log, "something else")

    assert messages(client.logs.follow(9, wait=Meanwhile(accept), about="7.jsonl")) == ["saved"]


def test_following_closes_its_files_again(layout, client, log, monkeypatch):
    write(log, "a")
    opened = []
    keep = Logs._open

    def opening(stack, path):
        found = keep(stack, path)
        opened.extend([found.file] if found else [])
        return found

    monkeypatch.setattr(Logs, "_open", staticmethod(opening))

    list(client.logs.follow(9, wait=Meanwhile(lambda: rotate(log), lambda: write(log, "b"))))

    assert len(opened) == 2
    assert all(file.closed for file in opened)
