"""Whoever works on backups may be killed anywhere: what is there then is old or new, and never half."""

import re
from pathlib import Path

import pytest

from tests.health import publish
from tests.trainer.backups.backup_rig import DAY_S, contents_of, is_killed_at
from trainer.backups import catalog, restoring
from trainer.backups.pruning import forget_in_backups, prune
from trainer.protocol.backups import Keep, PruneTask
from trainer.protocol.checkpoints import verify

FOLDER = Path(restoring.__file__).parent
NAMES = sorted(
    {name for file in FOLDER.glob("*.py") for name in re.findall(r'failpoint\("(.+?)"\)', file.read_text())}
)
OF_RESTORE = [name for name in NAMES if name.startswith("restore.")]
OF_REMOVAL = ["backup.announced", "backup.manifest_removed", "backup.object_removed"]
OF_CREATE = [name for name in NAMES if name not in OF_RESTORE and not name.endswith("_removed")]
ONE = PruneTask(keep=Keep(last=1, daily=0, weekly=0, monthly=0))


def test_every_failpoint_is_tried():
    assert {*OF_CREATE, *OF_RESTORE, *OF_REMOVAL} == set(NAMES)
    assert len(OF_CREATE) >= 5


def pruned(site):
    return prune(ONE, site.destination, origin=site.origin, clock=site.clock)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", OF_CREATE)
def test_a_backup_that_is_killed_is_there_whole_or_not_at_all(site, name, count):
    first = site.back_up()
    publish(site.layout, 3, step=12)
    site.layout.config_file.write_text("{}")

    was_killed = is_killed_at(f"{name}:{count}", site.back_up)
    site.clock.now += 1  # it went on over there only

    assert was_killed or count > 1
    assert site.manifests()[0].id == first.id
    site.assert_whole()
    second = site.back_up()
    assert second.global_step == 12
    pruned(site)
    assert list((site.to / "pending").iterdir()) == []
    assert not [path for path in site.to.rglob("*") if path.name.endswith(".part")]
    assert [manifest.id for manifest in site.manifests()] == [second.id]
    site.assert_whole()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", OF_REMOVAL)
def test_a_prune_that_is_killed_leaves_every_backup_that_is_there_whole(site, name, count):
    for step in (12, 15, 18):
        site.back_up()
        publish(site.layout, step, step=step)
    newest = site.back_up()

    was_killed = is_killed_at(f"{name}:{count}", lambda: pruned(site))

    assert was_killed or count > 1
    assert newest.id in [manifest.id for manifest in site.manifests()]
    site.assert_whole()
    pruned(site)
    assert [manifest.id for manifest in site.manifests()] == [newest.id]
    needed = {file.sha256 for file in site.manifests()[0].files}
    assert {path.name for path in (site.to / "objects").rglob("*") if path.is_file()} == needed


@pytest.mark.parametrize("name", ["backup.published", *OF_REMOVAL])
def test_forgetting_that_is_killed_can_be_done_again(site, name):
    site.back_up(saw=("a" * 64,))
    site.clock.now += DAY_S
    publish(site.layout, 3, step=12)
    [kept] = (site.layout.models / "data").iterdir()
    site.back_up()

    def forget():
        wanted = ("a" * 64, kept.name)
        return forget_in_backups(site.destination, wanted, origin=site.origin, clock=site.clock)

    assert is_killed_at(name, forget)
    site.assert_whole()
    forget()

    [manifest] = site.manifests()
    assert (manifest.saw, kept.name in manifest.objects) == ((), False)
    assert not [path for path in site.to.rglob(kept.name)]
    site.assert_whole()


@pytest.mark.parametrize("name", ["restore.staged", "restore.renamed"])
def test_a_restore_that_is_killed_has_made_all_or_nothing(site, tmp_path, name):
    site.back_up()

    assert is_killed_at(name, lambda: site.restore(tmp_path / "again"))

    is_there = (tmp_path / "again").exists()
    assert is_there == (name == "restore.renamed")
    if not is_there:
        site.restore(tmp_path / "again")
    assert verify((tmp_path / "again/models/current_model").resolve())
    assert [path.name for path in tmp_path.iterdir() if "restor" in path.name] == []


@pytest.mark.parametrize("name", ["restore.staged", "restore.exchanged", "restore.renamed"])
def test_a_working_directory_is_the_old_or_the_new_one_and_the_old_one_stays(site, name):
    site.back_up()
    (site.layout.base / "notes.txt").write_text("mine")
    old = contents_of(site.layout.base)

    assert is_killed_at(name, lambda: site.restore(site.layout.base, force=True))

    work = site.layout.base
    places = {path.name: contents_of(path) for path in work.parent.iterdir() if path.is_dir()}
    assert verify((work / "models/current_model").resolve()).progress.global_step == 9
    assert (contents_of(work) == old) == (name == "restore.staged")
    assert sum(contents == old for contents in places.values()) == 1


def test_where_folders_cannot_be_exchanged_both_are_kept_whole(site, monkeypatch):
    site.back_up()
    (site.layout.base / "notes.txt").write_text("mine")
    old = contents_of(site.layout.base)
    monkeypatch.setattr(restoring, "_exchange", lambda one, other: False)

    assert is_killed_at("restore.moved_aside", lambda: site.restore(site.layout.base, force=True))

    assert contents_of(site.layout.base.with_name("work.before-restore-1")) == old
    restored = site.layout.base.with_name(".work.restoring")
    assert verify(restored / "models/checkpoints/step-000000009-2")
    with pytest.raises(restoring.CannotRestore, match="is in the way"):
        site.restore(site.layout.base)


def test_what_a_killed_process_of_another_machine_has_announced_counts_for_a_day(site):
    destination = site.destination
    destination.prepare()
    is_killed_at(
        "backup.announced", lambda: _announce(destination, "create", origin="elsewhere:/w", now=site.clock)
    )
    site.back_up()
    publish(site.layout, 3, step=12)
    site.back_up()

    blocked = pruned(site)
    site.clock.now += DAY_S + 60
    freed = pruned(site)

    assert (blocked.freed_objects, len(blocked.removed)) == (0, 1)
    assert blocked.notes == (
        "no object was freed, because of create by elsewhere:/w; the next time frees them",
    )
    assert freed.freed_objects > 0


def test_no_backup_is_begun_while_objects_are_freed(site):
    destination = site.destination
    destination.prepare()
    with (
        catalog.announced(destination, "free", origin="elsewhere:/w", now=site.clock),
        pytest.raises(catalog.Busy, match="objects are being freed there"),
    ):
        site.back_up()

    assert site.back_up().global_step == 9


def _announce(destination, what, **facts):
    with catalog.announced(destination, what, **facts):
        pass
