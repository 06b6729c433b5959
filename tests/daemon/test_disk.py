"""The daemon has the disk measured and space freed in time, and says so where nothing helps."""

import json
import os

import pytest

from daemon import disk
from daemon.disk import FIRST_AFTER_S, MOST_TIMES_ASKED, TRY_AGAIN_S, DiskKeeper
from tests.support import FakeClock, eventually
from trainer.config.schema import Settings
from trainer.protocol.disk import Act, CleaningPlan, CleanOrder, DiskReport, MeasureOrder, Place, Usage
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import NoAnswer

MIB = 1 << 20
LITTLE, MUCH = 100 * MIB, 9_000 * MIB


class Board:
    def __init__(self):
        self.shown = None

    def set(self, *, disk):
        self.shown = disk


class Journal:
    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)

    def now_text(self):
        return "2026-01-01T00:00:00.000Z"


class Rig:
    """A keeper, how much is free, and what the process beside it answers."""

    def __init__(self, layout, monkeypatch):
        self.layout = layout
        self.clock = FakeClock(1_000.0)
        self.journal, self.board = Journal(), Board()
        self.told, self.orders, self.answers = [], [], []
        self.free = MUCH
        monkeypatch.setattr(disk.one_shot, "ask", self._answer)
        monkeypatch.setattr(disk, "_free_bytes", lambda folder: self.free)
        self.keeper = self.new_keeper()

    def new_keeper(self):
        return DiskKeeper(
            self.layout,
            self.journal,
            self.board,
            tell_worker=self.told.append,
            on_result=lambda: None,
            clock=self.clock,
            wall_clock=self.clock,
        )

    def _answer(self, module, order, answer_type):
        self.orders.append(order.order)
        result = self.answers.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def turn(self, *, after_s=1.0, **sections):
        """Let time pass, and whatever begins end."""
        self.clock.now += after_s
        settings = Settings(**sections)
        self.keeper.look_after(settings)
        if task := self.keeper._task:
            eventually(lambda: task.is_done, timeout_s=60, what="the answer")
            self.keeper.look_after(settings)

    def kinds(self):
        return [event.kind for event in self.journal.events]

    def report(self):
        return DiskReport.model_validate(json.loads((self.layout.status / "disk.json").read_bytes()))


@pytest.fixture
def rig(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    layout.create()
    return Rig(layout, monkeypatch)


def usage(used_mib=10, *, checkpoint_mib=1):
    place = Place(name="logs", folder="logs", bytes=used_mib * MIB, files=1)
    return Usage(
        places=(place,), free_bytes=MUCH, total_bytes=2 * MUCH, checkpoint_bytes=checkpoint_mib * MIB
    )


def cleaned(free, *, freed=5 * MIB, wanted=563 * MIB, **facts):
    acts = (Act(kind="token_cache", path="models/cache/a.tokens", frees_bytes=freed),) if freed else ()
    return CleaningPlan(acts=acts, left=(), free_bytes=free, wanted_bytes=wanted, is_done=True, **facts)


# ---- measuring


def test_it_measures_after_a_minute_and_more_and_more_seldom_up_to_every_five(rig):
    rig.answers = [usage()] * 5
    measured = []

    for interval_s in (60.0, 60.0, 120.0, 240.0, 300.0):
        rig.turn(after_s=interval_s - 1)
        measured.append(len(rig.orders))
        rig.turn()

    assert measured == [0, 1, 2, 3, 4]
    assert rig.orders == [MeasureOrder(base_dir=rig.layout.base)] * 5


def test_what_was_measured_is_shown_with_the_growth_of_the_last_hours(rig):
    rig.answers = [usage(10), usage(20)]

    rig.turn(after_s=FIRST_AFTER_S)
    assert rig.board.shown.growth_bytes_per_hour is None
    rig.turn(after_s=1_800.0)

    shown = rig.board.shown
    assert shown.growth_bytes_per_hour == pytest.approx(20 * MIB)
    assert shown.full_in_s == pytest.approx(MUCH / (20 * MIB) * 3600)
    assert (rig.report().used_bytes, rig.report().growth_bytes_per_hour) == (20 * MIB, 20 * MIB)


def test_the_next_daemon_goes_on_from_there(rig):
    rig.answers = [usage(10), usage(20)]
    rig.turn(after_s=FIRST_AFTER_S)

    rig.keeper = rig.new_keeper()
    assert rig.board.shown.used_bytes == 10 * MIB
    rig.turn(after_s=1_800.0)

    assert len(rig.report().samples) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"samples": 3}'])
def test_a_report_that_makes_no_sense_is_replaced(rig, content):
    (rig.layout.status / "disk.json").write_text(content)
    rig.answers = [usage(10)]

    rig.keeper = rig.new_keeper()
    rig.turn(after_s=FIRST_AFTER_S)

    assert rig.report().used_bytes == 10 * MIB


def test_a_report_with_numbers_that_no_status_can_hold_is_replaced(rig):
    rig.answers = [usage(10)]
    rig.turn(after_s=FIRST_AFTER_S)
    text = (rig.layout.status / "disk.json").read_text()
    (rig.layout.status / "disk.json").write_text(text.replace('"full_in_s": null', '"full_in_s": NaN'))

    assert rig.new_keeper()._report is None


def test_a_measurement_that_fails_is_tried_again_later(rig):
    rig.answers = [NoAnswer(-9), usage()]

    rig.turn(after_s=FIRST_AFTER_S)
    rig.turn(after_s=300.0)

    assert rig.report()
    assert rig.kinds() == []


def test_a_fault_that_nobody_thought_of_ends_the_measurement_and_is_in_the_log(rig, caplog):
    rig.answers = [ZeroDivisionError("of ours"), usage()]

    rig.turn(after_s=FIRST_AFTER_S)
    rig.turn(after_s=300.0)

    assert rig.report()
    assert "Traceback" in caplog.text


# ---- freeing


def with_margin(mib):
    return mib * MIB + mib * MIB // 10


def test_below_the_limit_it_frees_and_says_what(rig):
    rig.free = LITTLE
    rig.answers = [cleaned(MUCH), usage()]

    rig.turn()

    [order] = rig.orders
    assert isinstance(order, CleanOrder)
    assert order.carry_out
    assert (order.enough_bytes, order.wanted_bytes) == (512 * MIB, with_margin(512))
    assert order.version_trash_kept_s == 604_800.0
    assert rig.kinds() == ["disk_freed"]
    assert rig.journal.events[0].message == (
        "5 MB of disk space were freed: 1 token cache removed; 9.4 GB are free now"
    )


@pytest.mark.parametrize(
    "sections, wanted_mib",
    [
        ({}, 512),
        ({"daemon": {"min_free_bytes": 0}}, None),
        ({"disk": {"min_free_bytes": 0}}, None),
        ({"disk": {"min_free_bytes": 700 * MIB}}, 700),
        ({"disk": {"min_free_bytes": 200 * MIB}}, 512),
        ({"disk": {"min_free_bytes": 700 * MIB}, "daemon": {"min_free_bytes": 0}}, 700),
    ],
)
def test_the_limit_is_its_own_setting_or_else_that_of_blocking(rig, sections, wanted_mib):
    rig.free = LITTLE
    rig.answers = [cleaned(MUCH)]

    rig.turn(**sections)

    wanted = [order.wanted_bytes for order in rig.orders]
    assert wanted == ([] if wanted_mib is None else [with_margin(wanted_mib)])


def test_room_for_two_checkpoints_is_kept_free(rig):
    rig.answers = [usage(checkpoint_mib=1_000), cleaned(MUCH, wanted=2_200 * MIB)]
    rig.turn(after_s=FIRST_AFTER_S)

    rig.free = 1_999 * MIB
    rig.turn()

    assert rig.orders[-1].wanted_bytes == with_margin(2_000)


def test_where_nothing_helps_it_says_once_what_a_person_can_do_and_tries_again_later(rig):
    rig.free = LITTLE
    rig.answers = [cleaned(LITTLE, freed=0), cleaned(LITTLE, freed=0), usage()]

    rig.turn()
    rig.turn()
    assert len(rig.orders) == 1
    assert rig.kinds() == ["disk_low"]
    assert "training_models disk" in rig.keeper.advice
    rig.turn(after_s=TRY_AGAIN_S)
    assert len(rig.orders) == 2
    assert rig.kinds() == ["disk_low"]

    rig.free = MUCH
    rig.turn()
    assert rig.kinds() == ["disk_low", "disk_ample"]
    assert rig.keeper.advice == ""


def test_a_process_that_dies_while_freeing_is_reported(rig):
    rig.free = LITTLE
    rig.answers = [NoAnswer(-9)]

    rig.turn()

    assert rig.kinds() == ["disk_low"]
    assert "ended with code -9" in rig.keeper.advice


def test_a_worker_that_runs_removes_its_own_checkpoints_and_then_keeps_them_as_before(rig):
    rig.free = LITTLE
    rig.answers = [cleaned(LITTLE, freed=0, is_for_worker=True)]

    rig.turn(checkpoints={"keep_last": 9, "keep_every": 5})

    fewest, usual = rig.told
    assert (fewest.keep_last, fewest.keep_every, fewest.keep_best) == (2, None, 0)
    assert (usual.keep_last, usual.keep_every, usual.keep_best) == (9, 5, 1)
    assert rig.kinds() == ["fewest_kept"]


def test_a_worker_that_does_not_help_is_not_asked_for_ever(rig):
    rig.free = LITTLE
    tries = MOST_TIMES_ASKED + 1
    rig.answers = [cleaned(LITTLE, freed=0, is_for_worker=True) for _ in range(tries)]

    for _ in range(tries):
        rig.turn(after_s=60.0)

    assert len(rig.told) == 2 * MOST_TIMES_ASKED
    assert rig.kinds() == ["fewest_kept"] * MOST_TIMES_ASKED + ["disk_low"]


def test_a_large_limit_has_no_large_margin(rig):
    rig.answers = [cleaned(MUCH)]

    rig.turn(disk={"min_free_bytes": 90_000 * MIB})

    assert rig.orders[0].wanted_bytes == 90_000 * MIB + (1 << 30)


def test_a_worker_is_left_alone_where_the_rest_was_enough(rig):
    rig.free = LITTLE
    rig.answers = [cleaned(520 * MIB, is_for_worker=True)]

    rig.turn()

    assert rig.told == []
    assert rig.kinds() == ["disk_freed"]


def test_growth_starts_anew_after_something_was_freed(rig):
    rig.answers = [usage(10), usage(30), cleaned(MUCH), usage(5)]
    rig.turn(after_s=FIRST_AFTER_S)
    rig.turn(after_s=3_600.0)

    rig.free = LITTLE
    rig.turn()
    rig.free = MUCH
    rig.turn()

    assert rig.report().growth_bytes_per_hour is None
    assert rig.report().last_cleaning.freed_bytes == 5 * MIB


def test_a_folder_that_is_away_is_no_shortage(rig):
    rig.free = None

    rig.turn()

    assert rig.orders == []


def test_the_daemon_asks_the_file_system_of_the_models(tmp_path):
    found = os.statvfs(tmp_path)

    assert disk._free_bytes(tmp_path) == pytest.approx(found.f_bavail * found.f_frsize, rel=0.1)
    assert disk._free_bytes(tmp_path / "away") is None
