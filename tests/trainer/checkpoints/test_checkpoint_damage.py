"""Damaged checkpoints: no damage goes unnoticed, and none is ever taken for the newest."""

import json
import os

import pytest

from tests.trainer.checkpoint_rig import (
    EVERY_DAMAGE,
    EVERY_FILE,
    damage,
    names_in,
    publish,
    steps_in,
    store_in,
    truncated,
)
from trainer.protocol.checkpoints import DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.job import Cursor
from trainer.protocol.manifest import CHECKSUM, FORMAT, MANIFEST_NAME, checksum

every_damage = pytest.mark.parametrize("how", EVERY_DAMAGE)


@every_damage
@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_damaged_file_is_noticed_and_the_checkpoint_before_is_used(models, name, how):
    store = store_in(models)
    good = publish(store, 4)
    bad = publish(store, 8)
    damage(bad.path / name, how)

    store = store_in(models)
    found = store.newest_verified()

    assert found == good
    assert names_in(models / "checkpoints") == ["corrupt-step-000000008", "step-000000004"]
    assert os.readlink(models / "current_model") == "checkpoints/step-000000004"
    [notice] = store.notices
    assert notice.startswith(
        f"checkpoint step-000000008 is damaged and was renamed corrupt-step-000000008: {name}"
    )


def test_no_flipped_bit_of_a_manifest_changes_what_it_says(models):
    cursor = Cursor(job_id="j", sha256="00", plan="p", step=3, rows_trained=12, settings={"rate": 2e-05})
    published = publish(store_in(models), 12, tokens_seen=345, cursors={"j": cursor})
    manifest = published.path / MANIFEST_NAME
    content = manifest.read_bytes()
    unnoticed = []

    for i in range(0, len(content), 3):
        manifest.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 7)]) + content[i + 1 :])
        try:
            if read_manifest(published.path) != published.manifest:
                unnoticed.append(i)
        except DamagedCheckpoint:
            pass

    assert unnoticed == []


@every_damage
def test_when_no_checkpoint_verifies_none_is_invented(models, how):
    store = store_in(models)
    for step in (4, 8):
        damage(publish(store, step).path / "model.safetensors", how)

    with pytest.raises(NoUsableCheckpoint, match=r"step-000000008 is damaged.*step-000000004 is damaged"):
        store_in(models).newest_verified()

    with pytest.raises(NoUsableCheckpoint, match="all are damaged"):
        store_in(models).newest_verified()  # also when they were quarantined by an earlier start
    assert names_in(models / "checkpoints") == ["corrupt-step-000000004", "corrupt-step-000000008"]


def test_damaged_checkpoints_of_one_name_are_quarantined_side_by_side(models):
    store = store_in(models)
    publish(store, 4)
    for _ in range(2):
        damage(publish(store, 8).path / "model.safetensors", truncated)
        store.newest_verified()

    assert names_in(models / "checkpoints") == [
        "corrupt-step-000000008",
        "corrupt-step-000000008-2",
        "step-000000004",
    ]


def test_a_manifest_of_a_future_format_is_refused_and_not_quarantined(models):
    store = store_in(models)
    publish(store, 4)
    newer = publish(store, 8)
    content = {"format": FORMAT + 1, "shards": ["nothing", "that", "is", "known", "today"]}
    (newer.path / MANIFEST_NAME).write_text(json.dumps(content | {CHECKSUM: checksum(content)}))

    with pytest.raises(NoUsableCheckpoint, match=r"format is 3; expected 1 or 2; use the release"):
        store_in(models).newest_verified()

    assert steps_in(models) == ["step-000000004", "step-000000008"]
