"""Backups are kept by age as grandfather, father and son; what is forgotten is gone from all of them."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.health import publish
from tests.trainer.backups.backup_rig import DAY_S, rewrite
from trainer.backups.pruning import forget_in_backups, prune
from trainer.backups.retention import kept
from trainer.protocol.backups import Keep, PruneTask

NOTHING = Keep(last=1, daily=0, weekly=0, monthly=0)


@pytest.fixture
def one(site):
    """A backup to make others of."""
    site.back_up()
    return site.manifests()[0]


def hourly(one, days):
    """Return a backup for each sixth hour of some days before the end of 2026."""
    end = datetime(2026, 12, 31, 23, tzinfo=UTC)
    times = [end - timedelta(hours=6 * number) for number in range(4 * days)]
    return [one.model_copy(update={"id": f"{at:%Y%m%d-%H%M%S}-abcdef"}) for at in times]


def days_of(ids):
    return sorted({name[:8] for name in ids}, reverse=True)


def test_the_newest_ones_are_kept_by_number(one):
    backups = hourly(one, 10)

    assert kept(backups, Keep(last=5, daily=0, weekly=0, monthly=0)) == {item.id for item in backups[:5]}


def test_of_each_day_week_and_month_the_newest_is_kept(one):
    backups = hourly(one, 400)

    days = kept(backups, Keep(last=1, daily=3, weekly=0, monthly=0))
    weeks = kept(backups, Keep(last=1, daily=0, weekly=3, monthly=0))
    months = kept(backups, Keep(last=1, daily=0, weekly=0, monthly=14))

    assert days_of(days) == ["20261231", "20261230", "20261229"]
    assert all(name[9:11] == "23" for name in days)
    assert days_of(weeks) == ["20261231", "20261227", "20261220"]  # Sundays
    assert days_of(months)[:3] == ["20261231", "20261130", "20261031"]
    assert len(months) == 14


def test_all_of_it_together_is_what_the_settings_say(one):
    found = kept(hourly(one, 400), Keep(last=3, daily=7, weekly=4, monthly=12))

    # 3 of the last day, 6 days before it, 2 weeks before these, and 11 months
    assert len(found) == 3 + 6 + 2 + 11


def test_the_newest_is_kept_whatever_the_rules_say(one):
    backups = hourly(one, 5)

    assert kept(backups, Keep(last=0, daily=0, weekly=0, monthly=0)) == {backups[0].id}
    assert kept([], NOTHING) == set()


def pruned(site, *, keep=NOTHING, dry_run=False):
    task = PruneTask(keep=keep, dry_run=dry_run)
    return prune(task, site.destination, origin=site.origin, clock=site.clock)


def test_objects_that_no_backup_has_any_more_are_freed(site):
    first = site.back_up()
    publish(site.layout, 3, step=12)
    second = site.back_up()
    plan = pruned(site, dry_run=True)
    assert len(site.manifests()) == 2

    done = pruned(site)

    assert (done.removed, done.kept) == ((first.id,), (second.id,))
    assert (plan.freed_objects, plan.freed_bytes) == (done.freed_objects, done.freed_bytes)
    assert done.freed_objects > 0
    site.assert_whole()
    assert pruned(site).freed_objects == 0


def test_backups_of_another_working_directory_are_left_alone(site):
    other = site.back_up()
    [path] = (site.to / "manifests").iterdir()
    rewrite(path, lambda content: content.update(origin="elsewhere:/w"))
    site.clock.now += DAY_S
    own = site.back_up()

    done = pruned(site)

    assert done.removed == ()
    assert [item.id for item in site.manifests()] == [other.id, own.id]


def test_with_a_damaged_manifest_nothing_is_freed(site):
    site.back_up()
    publish(site.layout, 3, step=12)
    site.back_up()
    publish(site.layout, 4, step=15)
    site.back_up()
    first = sorted((site.to / "manifests").iterdir())[0]
    first.write_bytes(first.read_bytes()[:-1])

    done = pruned(site)

    assert (len(done.removed), done.freed_objects) == (1, 0)
    assert f"manifests/{first.name}" in done.notes[0]


def forgotten(site, *sha256, dry_run=False):
    return forget_in_backups(site.destination, sha256, origin=site.origin, dry_run=dry_run, clock=site.clock)


def test_backups_whose_weights_saw_a_forgotten_file_are_removed(site):
    before = site.back_up()
    publish(site.layout, 3, step=12)
    saw = site.back_up(saw=("a" * 64,))
    publish(site.layout, 4, step=15)
    since = site.back_up(saw=("b" * 64,))

    plan = forgotten(site, "a" * 64, dry_run=True)
    assert len(site.manifests()) == 3
    done = forgotten(site, "a" * 64)

    assert plan.removed == done.removed == (saw.id,)
    assert done.freed_objects > 0
    assert [item.id for item in site.manifests()] == [before.id, since.id]
    site.assert_whole()


def test_a_forgotten_file_is_gone_from_backups_that_only_kept_it(site, tmp_path):
    [data] = (site.layout.models / "data").iterdir()
    made = site.back_up()

    done = forgotten(site, data.name)

    assert (done.removed, done.cleaned) == ((), (made.id,))
    assert not list(site.to.rglob(data.name))
    site.restore(tmp_path / "again")
    assert (tmp_path / "again/config.json").exists()
    assert not list((tmp_path / "again").rglob(data.name))


def test_backups_that_may_have_seen_a_forgotten_file_are_named(site):
    made = site.back_up(is_saw_complete=False)

    done = forgotten(site, "a" * 64)

    assert (done.removed, done.unsure) == ((), (made.id,))
    assert len(site.manifests()) == 1
