"""The process that works on backups leaves its result for the status, and refuses in words."""

import json
import os

import psutil
import pytest

from tests.health import publish
from tests.trainer.backups.backup_rig import LOGITS, make_site
from trainer.mains import back_up
from trainer.protocol import one_shot
from trainer.protocol.backups import (
    BackupMade,
    BackupOrder,
    CreateTask,
    ForgetTask,
    Keep,
    ListTask,
    PruneTask,
    RestoreTask,
    VerifyTask,
)
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import NoAnswer, OrderRefused

NONE_BUT_LAST = Keep(last=1, daily=0, weekly=0, monthly=0)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(back_up, "stand_back", lambda *, idle: None)
    return make_site(tmp_path)


def carry_out(site, task, *, to=None):
    order = BackupOrder(base_dir=site.layout.base, to=to or str(site.to), task=task)
    return back_up.carry_out(order, lambda words: None)


def test_what_was_made_is_left_for_the_status(site):
    made = carry_out(site, CreateTask(why="asked for"))

    left = json.loads((site.layout.status / "backup.json").read_text())
    assert BackupMade.model_validate(left) == made
    assert (made.global_step, made.has_fingerprint) == (9, False)


def test_old_ones_are_removed_afterwards_if_the_daemon_asks_for_it(site):
    first = carry_out(site, CreateTask(why="every day"))
    publish(site.layout, 3, step=12)

    second = carry_out(site, CreateTask(why="every day", keep=NONE_BUT_LAST))

    assert second.pruned == (first.id,)


def test_every_task_is_carried_out_on_what_is_there(site, tmp_path):
    carry_out(site, CreateTask(why="asked for"))

    [line] = carry_out(site, ListTask()).backups
    plan = carry_out(site, RestoreTask(into=tmp_path / "again", dry_run=True))
    assert not (tmp_path / "again").exists()
    carry_out(site, RestoreTask(into=tmp_path / "again"))

    assert (line.global_step, line.why, plan.global_step) == (9, "asked for", 9)
    assert carry_out(site, VerifyTask()).is_whole
    assert carry_out(site, PruneTask(keep=NONE_BUT_LAST)).removed == ()
    assert carry_out(site, ForgetTask(sha256=("a" * 64,))).removed == ()
    assert (tmp_path / "again/queue").is_dir()


@pytest.mark.parametrize(
    "task, to, fault, said",
    [
        (RestoreTask(into="/nowhere"), None, FaultKind.REQUEST, "has no backup; if a disk belongs there"),
        (VerifyTask(backup="x"), None, FaultKind.REQUEST, "has no backup 'x'; expected latest or one of"),
        (CreateTask(why="", versions=("v9/..",)), None, FaultKind.REQUEST, "is no version; expected an id"),
        (CreateTask(why="", versions=("v009",)), None, FaultKind.REQUEST, "v009 is gone; choose another"),
        (ListTask(), "http://me:hunter2@h/", FaultKind.ENVIRONMENT, "http://me:***@h/: expected a folder"),
        (
            CreateTask(why=""),
            "/proc/nope",
            FaultKind.ENVIRONMENT,
            "/proc/nope: no folder objects can be made there",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(site, task, to, fault, said):
    with pytest.raises(OrderRefused) as caught:
        carry_out(site, task, to=to)

    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.fault is fault


def test_a_damaged_ledger_is_named(site):
    site.layout.ledger_file.write_bytes(b"not a ledger" * 100)

    with pytest.raises(OrderRefused, match=r"ledger\.sqlite3: .*expected a ledger"):
        carry_out(site, CreateTask(why="asked for"))

    assert carry_out(site, ListTask()).backups == ()


def test_the_fingerprint_comes_from_a_process_and_a_backup_can_do_without(site, monkeypatch):
    asked = []

    def ask(module, order, answer_type, **options):
        asked.append((module, order.checkpoint.name))
        if len(asked) == 1:
            raise NoAnswer(-9)
        return LOGITS

    monkeypatch.setattr(one_shot, "ask", ask)
    task = CreateTask(why="asked for", fingerprint_max_bytes=10**9)

    without, with_one = carry_out(site, task), carry_out(site, task)

    assert without.notes == ("there is no fingerprint of the logits: ended with code -9",)
    assert (without.has_fingerprint, with_one.has_fingerprint) == (False, True)
    assert asked == [("trainer.mains.fingerprint_logits", "step-000000009-2")] * 2


def test_it_stands_back_for_whoever_trains():
    child = os.fork()
    if child == 0:
        before = os.nice(0)
        back_up.stand_back(idle=True)
        is_idle = psutil.Process().ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
        os._exit(0 if is_idle and os.nice(0) >= min(19, before + 10) else 1)

    assert os.waitpid(child, 0)[1] == 0
