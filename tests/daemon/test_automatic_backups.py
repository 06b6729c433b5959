"""Backups are made when they are due, again when one failed, and never where none are wanted."""

import threading

import pytest

from daemon.automatic_backups import LOOK_AGAIN_S, RETRY_S, AutomaticBackups
from daemon.journal.journal import Journal, StatusChanges
from daemon.status.board import StatusBoard
from tests.health import publish
from tests.support import FakeClock
from trainer.config.backup_settings import BackupSettings
from trainer.protocol.backups import RESULT_NAME, BackupMade
from trainer.protocol.files import write_json
from trainer.protocol.layout import Layout
from trainer.protocol.text import utc_text

DAY_S = 86_400.0
NOW = 1_800_000_000.0
TO = "/mnt/backup"


class Site:
    """Automatic backups with a clock of their own, and with backups that the test makes."""

    def __init__(self, base):
        self.layout = Layout(base)
        self.layout.create()
        self.clock, self.wall_clock = FakeClock(0.0), FakeClock(NOW)
        self.board = StatusBoard(self.layout.status_file, daemon_pid=1, clock=self.clock)
        self.recorded = []
        journal = Journal([StatusChanges(self.board), self])
        self.asked, self.ended = 0, threading.Event()
        self.outcome = lambda: made(self)
        self.backups = AutomaticBackups(
            self.layout,
            journal,
            self.board,
            on_result=self.ended.set,
            make=self.make,
            clock=self.clock,
            wall_clock=self.wall_clock,
        )
        self.settings = BackupSettings(to=TO)

    def on_event(self, event, at):
        self.recorded.append(event)

    def make(self, settings):
        self.asked += 1
        return self.outcome()

    def look(self):
        self.backups.look_after(self.settings)

    def look_and_wait(self):
        self.ended.clear()
        self.look()
        assert self.ended.wait(30)
        self.look()

    def later(self, seconds):
        self.clock.now += seconds
        self.wall_clock.now += seconds

    @property
    def kinds(self):
        return [event.kind for event in self.recorded]

    @property
    def alerts(self):
        self.board.publish()
        return self.board.status.alerts


def made(site, *, to=TO, shares_device=False):
    return BackupMade(
        id="20270115-080000-abcdef",
        at=utc_text(site.wall_clock()),
        to=to,
        checkpoint="step-000000009-1",
        sequence=1,
        global_step=9,
        files=3,
        total_bytes=100,
        sent_bytes=10,
        seconds=1.0,
        shares_device=shares_device,
        has_fingerprint=True,
    )


def failing(message):
    def fail():
        raise OSError(message)

    return fail


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "work")
    publish(site.layout, 1, step=9)
    return site


def test_the_first_one_is_made_at_once_and_the_next_after_the_interval(site):
    site.look_and_wait()
    site.later(DAY_S - 1)
    site.look()
    assert site.asked == 1

    site.later(1)
    site.look_and_wait()

    assert site.kinds == ["backed_up", "backed_up"]
    assert site.board.status.backup.step == 9


def test_without_a_destination_nothing_is_done(site):
    site.settings = BackupSettings()

    site.look()

    assert (site.asked, site.backups.due_at()) == (0, float("inf"))
    assert site.board.status.backup is None


def test_without_a_checkpoint_it_waits_for_one(tmp_path):
    site = Site(tmp_path / "work")
    site.look()
    assert (site.asked, site.backups.due_at()) == (0, LOOK_AGAIN_S)
    publish(site.layout, 1, step=9)

    site.later(LOOK_AGAIN_S)
    site.look_and_wait()

    assert site.asked == 1


def test_one_that_was_made_by_hand_counts(site):
    site.look_and_wait()
    site.later(DAY_S)
    by_hand = made(site)
    write_json(site.layout.status / RESULT_NAME, by_hand.model_dump(), durable=False)
    site.later(60)

    site.look()

    assert site.asked == 1
    assert site.backups.due_at() == site.clock() + DAY_S - 60


def test_one_that_lies_elsewhere_does_not_count(site):
    write_json(site.layout.status / RESULT_NAME, made(site, to="/mnt/other").model_dump(), durable=False)

    site.look_and_wait()

    assert site.asked == 1


def test_a_fault_that_nobody_thought_of_ends_the_try_and_is_in_the_log(site, caplog):
    def fail():
        raise ZeroDivisionError("of ours")

    site.outcome = fail
    site.look_and_wait()
    assert site.kinds == ["backup_failed"]
    assert "Traceback" in caplog.text

    site.outcome = lambda: made(site)
    site.later(RETRY_S)
    site.look_and_wait()

    assert site.kinds == ["backup_failed", "backed_up"]


def test_a_failure_is_an_alert_until_one_has_been_made(site):
    site.outcome = failing("no route to host")
    site.look_and_wait()
    [alert] = site.alerts
    assert alert == ("no backup could be made: no route to host; there is none yet; tried again in 900 s")
    assert site.board.status.backup.problem == "no route to host"

    site.outcome = lambda: made(site)
    site.later(RETRY_S)
    site.look_and_wait()

    assert site.kinds == ["backup_failed", "backed_up"]
    assert site.alerts == []
    assert site.board.status.backup.problem is None


def test_one_that_takes_longer_than_the_interval_is_an_alert_once(site):
    go_on = threading.Event()

    def wait():
        assert go_on.wait(30)
        return made(site)

    site.outcome = wait
    site.look()
    assert site.backups.due_at() == DAY_S
    site.later(DAY_S)
    site.look()
    site.look()
    assert site.kinds == ["backup_overdue"]
    assert site.alerts == ["a backup has been running for 86400 s; there is none yet"]

    site.ended.clear()
    go_on.set()
    assert site.ended.wait(30)
    site.look()

    assert site.alerts == []


def test_copies_on_the_same_device_are_an_alert(site):
    site.outcome = lambda: made(site, shares_device=True)

    site.look_and_wait()

    [alert] = site.alerts
    assert "one broken disk takes both" in alert


def test_turned_off_there_is_no_alert_and_no_next_one(site):
    site.outcome = failing("no route to host")
    site.look_and_wait()

    site.settings = BackupSettings()
    site.look()

    assert (site.alerts, site.board.status.backup) == ([], None)
    assert site.backups.due_at() == float("inf")


def test_a_clock_that_was_set_back_does_not_put_it_off_for_long(site):
    site.wall_clock.now += 365 * DAY_S
    write_json(site.layout.status / RESULT_NAME, made(site).model_dump(), durable=False)
    site.wall_clock.now -= 365 * DAY_S

    site.look()

    assert site.backups.due_at() == DAY_S
