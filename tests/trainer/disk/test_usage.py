"""What lies where is measured as the disk has it, and each file once."""

import os
from pathlib import Path

import pytest

from tests.trainer.disk.conftest import BIG
from trainer.disk.usage import measure
from trainer.protocol.disk import (
    SAMPLES_KEPT,
    Sample,
    full_in_s,
    growth_per_hour,
    with_sample,
)

GB = 10**9


def places(site):
    return {place.name: place for place in measure(site.layout).places}


def test_a_version_takes_no_more_than_what_its_checkpoint_does_not_have(site):
    checkpoint = site.checkpoint(10)
    site.version(checkpoint)

    found = places(site)

    assert found["checkpoints"].bytes >= 2 * BIG
    assert found["versions"].bytes < BIG  # its record and the marks
    assert found["checkpoints"].folder == "models/checkpoints"


def test_a_version_whose_checkpoint_is_gone_takes_all_of_it(site):
    from trainer.checkpoints.publishing import remove_unused

    checkpoint = site.checkpoint(10)
    version = site.version(checkpoint)
    remove_unused(checkpoint)
    (site.models / "checkpoints" / f".trash-{checkpoint.name}").rename(site.layout.base / "away")

    assert places(site)["versions"].bytes >= 2 * BIG
    site.versions.delete(version)
    assert places(site)["deleted versions"].bytes >= 2 * BIG


def test_each_place_has_its_own_files(site):
    site.cache("a")
    site.cleared()
    (site.layout.processing / "now.jsonl").write_bytes(bytes(BIG))
    (site.layout.logs / "daemon.log").write_bytes(bytes(BIG))
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal", "training_status.json"):
        (site.layout.status / name).write_bytes(bytes(BIG))
    (site.models / "fit.json").write_bytes(bytes(BIG))

    found = {name: (place.bytes, place.files) for name, place in places(site).items()}

    assert found == {
        "token cache": (BIG, 1),
        "cleared files": (BIG, 1),
        "queue: processing": (BIG, 1),
        "logs": (BIG, 1),
        "ledger": (2 * BIG, 2),
        "status and reports": (BIG, 1),
        "other files of models": (BIG, 1),
    }


def test_backups_count_where_they_take_room_from_the_models(site, tmp_path):
    backups = tmp_path / "backups"
    (backups / "objects").mkdir(parents=True)
    (backups / "objects" / "a").write_bytes(bytes(BIG))

    [place] = measure(site.layout, backups=backups).places

    assert (place.name, place.folder, place.bytes) == ("backups", str(backups), BIG)
    assert measure(site.layout, backups=tmp_path / "none").places == ()
    assert measure(site.layout, backups=Path("/proc/self")).places == ()


def test_consolidated_base_models_have_a_place_of_their_own(site):
    site.base("step-000000001-aa")

    found = places(site)

    assert (found["consolidated base models"].bytes, found["consolidated base models"].folder) == (
        BIG,
        "models/bases",
    )
    assert list(found) == ["consolidated base models"]


def test_links_that_lead_elsewhere_are_not_followed(site, tmp_path):
    (tmp_path / "large").write_bytes(bytes(BIG))
    (site.layout.inbox / "link.jsonl").symlink_to(tmp_path / "large")
    (site.layout.inbox / "folder").symlink_to(tmp_path)

    assert places(site) == {}


def test_the_size_of_the_newest_checkpoint_is_known(site):
    assert measure(site.layout).checkpoint_bytes == 0

    checkpoint = site.checkpoint(10)

    files = [path for path in checkpoint.iterdir() if path.name != "MANIFEST.json"]
    assert measure(site.layout).checkpoint_bytes == sum(path.stat().st_size for path in files)


def test_free_space_is_what_the_file_system_gives_to_this_user(site):
    disk = os.statvfs(site.models)

    found = measure(site.layout)

    assert found.total_bytes == disk.f_blocks * disk.f_frsize
    assert 0 < found.free_bytes <= disk.f_bfree * disk.f_frsize


# ---- growth


def test_the_samples_stay_few_and_cover_the_last_hours():
    samples = ()
    for minute in range(0, 60 * 24, 5):
        samples = with_sample(samples, Sample(at=60.0 * minute, used_bytes=minute))

    assert len(samples) <= SAMPLES_KEPT
    assert samples[-1].used_bytes == 60 * 24 - 5
    assert samples[-1].at - samples[0].at > 7 * 3600


def test_a_clock_that_was_set_back_leaves_no_sample_of_the_future():
    samples = with_sample((Sample(at=100.0, used_bytes=1), Sample(at=9_000.0, used_bytes=2)), sample(200.0))

    assert [item.at for item in samples] == [100.0, 200.0]


def sample(at, used_bytes=0):
    return Sample(at=at, used_bytes=used_bytes)


def test_growth_is_known_after_half_an_hour():
    assert growth_per_hour([sample(0.0)]) is None
    assert growth_per_hour([sample(0.0), sample(1_799.0, GB)]) is None
    assert growth_per_hour([sample(0.0), sample(1_800.0, GB)]) == pytest.approx(2 * GB)


def test_a_disk_is_full_when_growth_has_taken_what_is_free():
    assert full_in_s(9 * GB, float(GB)) == 9 * 3600
    assert full_in_s(9 * GB, -1.0) is None
    assert full_in_s(9 * GB, None) is None
