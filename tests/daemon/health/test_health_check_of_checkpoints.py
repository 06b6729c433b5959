"""Which checkpoints are whole, which one a restart would take, and whether the settings still fit it."""

import os

import pytest

from daemon.checkpoints.review import (
    BlockedRestart,
    Damaged,
    Unusable,
    Whole,
    compare_sizes,
    review,
    review_sizes,
    starting_point,
)
from daemon.health.check_result import Severity
from daemon.health.health_check import examine
from daemon.status.reader import read_status
from tests.health import NOW, damage, found, level, publish, shorten, write_manifest
from trainer.config.lock import locked_values
from trainer.config.schema import Settings
from trainer.protocol.checkpoints import DamagedCheckpoint, verify
from trainer.protocol.files import read_json, write_json
from trainer.protocol.manifest import CHECKSUM, MANIFEST_NAME
from trainer.protocol.permissions import give_permission
from trainer.protocol.text import utc_text


def test_a_look_at_sizes_finds_what_is_missing_and_what_was_cut(layout):
    publish(layout, 1, step=10)
    shorten(publish(layout, 2, step=20))
    (publish(layout, 3, step=30) / "optimizer.pt").unlink()

    kinds = [type(item) for item in review_sizes(layout.models)]

    assert kinds == [Damaged, Damaged, Whole]


def test_only_reading_the_whole_finds_a_changed_byte(layout):
    path = publish(layout, 1)
    damage(path)

    assert isinstance(review(path, compare_sizes), Whole)
    assert isinstance(review(path, verify), Damaged)


def test_a_checkpoint_that_is_removed_while_it_is_read_is_none(layout):
    path = publish(layout, 1)

    def removed_meanwhile(path):
        os.rename(path, path.with_name(".trash-it"))
        raise DamagedCheckpoint("model.safetensors is missing")

    assert review(path, removed_meanwhile) is None


def test_a_checkpoint_of_another_release_blocks_and_is_not_called_damaged(layout):
    publish(layout, 1, step=10)
    newer = publish(layout, 2, step=20)
    content = read_json(newer / MANIFEST_NAME)
    del content[CHECKSUM]
    write_manifest(newer, content | {"format": 99})

    reviewed = review_sizes(layout.models)

    assert isinstance(reviewed[0], Unusable)
    assert isinstance(starting_point(reviewed, has_corrupt=False), BlockedRestart)


def test_a_restart_passes_over_damaged_checkpoints_by_sequence(layout):
    second = publish(layout, 2, step=10)
    publish(layout, 1, step=90)
    shorten(publish(layout, 3, step=5))

    start = starting_point(review_sizes(layout.models), has_corrupt=False)

    assert start.path == second


@pytest.mark.parametrize("has_corrupt, expected", [(True, BlockedRestart), (False, type(None))])
def test_with_nothing_but_damaged_ones_set_aside_a_restart_is_blocked(has_corrupt, expected):
    assert isinstance(starting_point([], has_corrupt=has_corrupt), expected)


def test_whole_checkpoints_are_well(layout):
    publish(layout, 1)

    assert level(layout, "checkpoints") is Severity.OK


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense"])
def test_a_manifest_that_makes_no_sense_is_a_problem(layout, content):
    publish(layout, 1, step=10)
    (publish(layout, 2, step=20) / MANIFEST_NAME).write_text(content)

    findings = found(layout, "checkpoints")

    assert findings[0].level is Severity.PROBLEM
    assert "can fall back on step-000000010-1" in findings[0].advice


def test_a_checkpoint_that_was_set_aside_is_mentioned(layout):
    path = publish(layout, 1)
    path.with_name("corrupt-step-9").mkdir()

    assert level(layout, "checkpoints") is Severity.WARNING


def test_a_setting_that_differs_from_a_locked_one_names_both_values_and_the_way_out(layout):
    publish(layout, 1, locked={"data.max_length": 512})
    write_json(layout.config_file, {"data": {"max_length": 1024}}, durable=False)

    [finding] = found(layout, "locked settings")

    assert finding.level is Severity.PROBLEM
    assert "1024" in finding.message
    assert "512" in finding.message
    assert "training_health unlock data.max_length" in finding.advice


def test_each_setting_that_differs_is_one_problem(layout):
    locked = locked_values(Settings())
    publish(layout, 1, locked=locked)
    config = {"data": {"max_length": 1024}, "model": {"grow_vocabulary": True}}
    write_json(layout.config_file, config, durable=False)

    messages = [finding.message for finding in found(layout, "locked settings")]

    assert [message.partition(" is ")[0] for message in messages] == [
        "model.grow_vocabulary",
        "data.max_length",
    ]


def test_a_setting_that_was_unlocked_on_purpose_is_well(layout):
    publish(layout, 1, locked={"data.max_length": 512})
    write_json(layout.config_file, {"data": {"max_length": 1024}}, durable=False)
    give_permission(layout.models, "data.max_length", 512, 1024, at=utc_text(NOW))

    assert level(layout, "locked settings") is Severity.OK


def test_a_locked_setting_that_this_release_does_not_have_is_a_problem(layout):
    publish(layout, 1, locked={"data.no_such": 512})

    assert level(layout, "locked settings") is Severity.PROBLEM


def test_invalid_settings_are_a_problem_and_nothing_is_concluded_from_them(layout):
    publish(layout, 1, locked={"data.max_length": 512})
    layout.config_file.write_text('{"data": {"max_length": "long"}}')

    findings = examine(layout, read_status(layout), now=NOW)

    assert [item.name for item in findings if item.level is Severity.PROBLEM] == ["config"]
