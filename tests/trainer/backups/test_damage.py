"""A bit that has changed anywhere is found and named, and a manifest from anywhere cannot do harm."""

import random

import pytest

from tests.support import every_case
from tests.trainer.backups.backup_rig import contents_of, rewrite
from trainer.backups import catalog
from trainer.backups.catalog import NoSuchBackup
from trainer.backups.destination import MissingObject
from trainer.backups.manifest import DamagedManifest
from trainer.backups.restoring import CannotRestore
from trainer.backups.verification import verify_backups
from trainer.protocol.backups import VerifyTask


def verified(site, backup=None):
    return verify_backups(VerifyTask(backup=backup), site.destination, tell=lambda words: None)


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def files_at(site):
    return [path for path in sorted(site.to.rglob("*")) if path.is_file()]


def test_a_flipped_bit_in_any_object_is_found_and_named(site):
    site.back_up()
    draw = random.Random(1)

    with every_case() as cases:
        for path in files_at(site):
            position, bit = draw.randrange(path.stat().st_size), draw.randrange(8)
            with cases.case(f"{path.name}: bit {bit} of byte {position}"):
                flip(path, position, bit)
                assert list(verified(site).damaged) == [path.relative_to(site.to).as_posix()]
                flip(path, position, bit)

    site.assert_whole()


def test_every_single_flipped_bit_of_a_manifest_is_found(site):
    site.back_up()
    [path] = (site.to / "manifests").iterdir()
    written = path.read_bytes()

    with every_case() as cases:
        for position in range(len(written)):
            bit = position % 8
            with cases.case(f"bit {bit} of byte {position}, {written[position : position + 1]!r}"):
                changed = bytearray(written)
                changed[position] ^= 1 << bit
                with pytest.raises(DamagedManifest):
                    catalog.parse(bytes(changed), name=path.stem)


def test_damage_names_the_backups_that_cannot_be_restored(site):
    first = site.back_up()
    site.layout.config_file.write_text("{}")
    second = site.back_up()
    [manifest] = [item for item in site.manifests() if item.id == first.id]
    [config] = [file for file in manifest.files if file.path == "config.json"]
    (site.to / f"objects/{config.sha256[:2]}/{config.sha256}").unlink()

    found = verified(site)

    assert found.unusable == (first.id,)
    assert list(found.damaged.values()) == ["it is missing"]
    assert verified(site, second.id).is_whole


def test_what_no_backup_needs_is_verified_too_because_the_next_one_may(site):
    site.back_up()
    [path] = (site.to / "manifests").iterdir()
    path.unlink()
    orphan = files_at(site)[0]
    flip(orphan, 0, 0)

    assert list(verified(site).damaged) == [orphan.relative_to(site.to).as_posix()]


def test_a_damaged_object_is_not_restored_and_nothing_is_left(site, tmp_path):
    site.back_up()
    flip(max(files_at(site), key=lambda path: path.stat().st_size), 0, 0)

    with pytest.raises(CannotRestore, match="has a different content than its name says"):
        site.restore(tmp_path / "again")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "work"]


def test_a_missing_object_leaves_a_working_directory_as_it_was(site):
    site.back_up()
    files_at(site)[1].unlink()
    before = contents_of(site.layout.base)

    with pytest.raises((MissingObject, CannotRestore)):
        site.restore(site.layout.base, force=True)

    assert contents_of(site.layout.base) == before


HOSTILE = {
    "../../etc/cron.d/x": "is no path of a backup",
    "/etc/passwd": "is no path of a backup",
    "models/checkpoints/../../../x": "is no path of a backup",
    "models/checkpoints//x": "is no path of a backup",
    "models/checkpoints/./x": "is no path of a backup",
    "models/checkpoints/a\0b": "is no path of a backup",
    "inbox/x.jsonl": "is no path of a backup",
    "control/.stop": "is no path of a backup",
    "models/current_model/x": "is no path of a backup",
    "status/training_status.json": "is no path of a backup",
    "": "is no path of a backup",
    "config.json/x": "is no path of a backup",
    "models/versions/v001/" + "x" * 5000: "is no path of a backup",
    "models/checkpoints/step-000000009-2/MANIFEST.json/x": "lies below a file",
    "models/checkpoints/step-000000009-2/MANIFEST.json": "a path occurs twice",
}


def test_a_manifest_that_leads_elsewhere_is_refused_in_words(site, tmp_path):
    site.back_up()
    [path] = (site.to / "manifests").iterdir()
    written = path.read_bytes()

    with every_case() as cases:
        for hostile, said in HOSTILE.items():
            with cases.case(hostile[:60]):
                extra = {"path": hostile, "sha256": "0" * 64, "bytes": 1, "mtime_ns": 1}
                rewrite(path, lambda content, extra=extra: content["files"].append(extra))
                with pytest.raises(DamagedManifest, match=said):
                    catalog.parse(path.read_bytes(), name=path.stem)
                path.write_bytes(written)


HOSTILE_NAMED = (
    *("../x", "/etc/passwd", "a/../../x", "a//x", "./x", "a\0b", "", "."),
    *("models/checkpoints/step-1/x", "queue/high/x.jsonl", "control/.stop", "status/x", "inbox/x", "logs/x"),
    *("models", "MODELS/x", "Status/x", ".stop", "config.json", "Config.json", ".restore-unfinished"),
)


def test_a_file_that_settings_name_is_no_way_into_the_folders_that_have_a_meaning(site):
    site.back_up()
    [path] = (site.to / "manifests").iterdir()
    written = path.read_bytes()

    def name(content, hostile):
        content["files"] += [{"path": hostile, "sha256": "0" * 64, "bytes": 1, "mtime_ns": 1}]
        content["named"] = [hostile]

    with every_case() as cases:
        for hostile in HOSTILE_NAMED:
            with cases.case(hostile):
                path.write_bytes(written)
                rewrite(path, lambda content, hostile=hostile: name(content, hostile))
                with pytest.raises(DamagedManifest, match=r"is no path of a backup|a path occurs twice"):
                    catalog.parse(path.read_bytes(), name=path.stem)
    path.write_bytes(written)
    rewrite(path, lambda content: name(content, "evaluation/x.jsonl"))
    assert catalog.parse(path.read_bytes(), name=path.stem).named == ("evaluation/x.jsonl",)


@pytest.mark.parametrize(
    "field, value",
    [
        ("checkpoint", "../../x"),
        ("checkpoint", "step-1/../.."),
        ("id", "../../x"),
        ("format", 2),
        ("format", "\x1b[31m"),
        ("files", "none"),
        ("files", [{"path": "config.json", "sha256": "../../x", "bytes": 1, "mtime_ns": 1}]),
        ("files", [{"path": "config.json", "sha256": "0" * 64, "bytes": -1, "mtime_ns": 1}]),
        ("files", []),
        ("made_at", {"deep": 1}),
        ("saw", ["x"]),
        ("named", ["evaluation/that_is_not_in_it.jsonl"]),
        ("named", ["config.json"]),
        ("unheard_of", 1),
    ],
)
def test_a_manifest_with_odd_values_is_refused_and_listed_as_damaged(site, field, value):
    site.back_up()
    [path] = (site.to / "manifests").iterdir()
    rewrite(path, lambda content: content.update({field: value}))

    [(name, problem)] = catalog.read_all(site.destination).damaged.items()

    assert name == f"manifests/{path.name}"
    assert problem.isprintable()


@pytest.mark.parametrize(
    "said", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"{}", b'{"checksum": []}', b"1" * 10_000]
)
def test_what_is_no_manifest_is_no_backup(site, said):
    made = site.back_up()
    (site.to / "manifests/20260101-000000-abcdef.json").write_bytes(said)

    found = catalog.read_all(site.destination)

    assert [backup.id for backup in found.backups] == [made.id]
    assert list(found.damaged) == ["manifests/20260101-000000-abcdef.json"]


def test_a_manifest_under_another_name_is_refused(site):
    made = site.back_up()
    (site.to / f"manifests/{made.id}.json").rename(site.to / "manifests/20260101-000000-abcdef.json")

    assert "is the manifest of" in str(catalog.read_all(site.destination).damaged)


@pytest.mark.parametrize("name", ["nope", "../manifests/x", "20260101-000000-abcdef", ""])
def test_an_unknown_backup_is_named_with_those_that_are_there(site, name):
    made = site.back_up()

    with pytest.raises(NoSuchBackup, match=rf"expected latest or one of: {made.id}"):
        catalog.find(site.destination, name)
