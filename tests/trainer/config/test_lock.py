"""Settings that checkpoints depend on cannot be changed unnoticed."""

import pytest

from trainer.config.lock import CAN_BE_UNLOCKED, LockedSetting, check_lock, locked_values
from trainer.config.schema import Settings
from trainer.protocol.manifest import Unlocked

LOCKED = [
    ("model.base_model", "tiny", "Qwen/Qwen3-0.6B", '"Qwen/Qwen3-0.6B"', '"tiny"'),
    ("model.chat_template", "own", "chatml", '"chatml"', '"own"'),
    ("model.grow_vocabulary", False, True, "true", "false"),
    ("training.method", "lora", "full", '"full"', '"lora"'),
    ("data.max_length", 2048, 1024, "1024", "2048"),
    ("training.lora_rank", 16, 8, "8", "16"),
    ("training.lora_alpha", 32, 16, "16", "32"),
    ("training.lora_targets", "all-linear", ["q_proj"], r'\["q_proj"\]', '"all-linear"'),
    ("training.lora_dora", True, False, "false", "true"),
    ("training.lora_rslora", False, True, "true", "false"),
    ("training.optimizer", "muon", "adamw", '"adamw"', '"muon"'),
]


def with_value(name, value):
    section, _, key = name.partition(".")
    sections = {"training": {"method": "lora"}}
    sections[section] = sections.get(section, {}) | {key: value}
    return Settings.model_validate(sections)


@pytest.mark.parametrize("name, was, now, shown, shown_was", LOCKED)
def test_a_locked_setting_that_differs_is_refused_with_both_values(name, was, now, shown, shown_was):
    locked = locked_values(with_value(name, was))

    with pytest.raises(LockedSetting, match=rf"{name} is {shown}, but .* with {shown_was};") as refused:
        check_lock(locked, with_value(name, now), [])

    assert ("training_health unlock" in str(refused.value)) == (name in CAN_BE_UNLOCKED)


@pytest.mark.parametrize("name, was, now", [case[:3] for case in LOCKED if case[0] not in CAN_BE_UNLOCKED])
def test_no_permission_makes_other_tensors_fit(name, was, now):
    allowed = Unlocked(setting=name, was=was, becomes=now, at="2026-01-01")

    with pytest.raises(LockedSetting):
        check_lock(locked_values(with_value(name, was)), with_value(name, now), [allowed])


@pytest.mark.parametrize("name, was, now", [case[:3] for case in LOCKED if case[0] in CAN_BE_UNLOCKED])
def test_a_change_that_was_allowed_is_permitted_and_told(name, was, now):
    allowed = Unlocked(setting=name, was=was, becomes=now, at="2026-01-01")
    other = Unlocked(setting=name, was=was, becomes="something else", at="2026-01-01")

    permitted = check_lock(locked_values(with_value(name, was)), with_value(name, now), [other, allowed])

    assert permitted == (allowed,)


@pytest.mark.parametrize(
    "change",
    [{"was": 512}, {"becomes": 512}, {"setting": "training.lora_rank"}],
    ids=lambda change: next(iter(change)),
)
def test_a_permission_holds_for_this_very_change_only(change):
    facts = {"setting": "data.max_length", "was": 2048, "becomes": 1024, "at": "now"} | change
    locked = locked_values(with_value("data.max_length", 2048))

    with pytest.raises(LockedSetting, match=r"data\.max_length is 1024"):
        check_lock(locked, with_value("data.max_length", 1024), [Unlocked(**facts)])


def test_lora_settings_are_free_while_all_weights_are_trained():
    assert set(locked_values(Settings())) == {
        "model.base_model",
        "model.chat_template",
        "model.template_options",
        "model.grow_vocabulary",
        "training.method",
        "training.optimizer",
        "data.max_length",
    }


@pytest.mark.parametrize(
    "training",
    [{"optimizer": "muon"}, {"method": "lora", "lora_dora": True}, {"method": "lora", "lora_rslora": True}],
)
def test_a_checkpoint_older_than_a_setting_was_trained_with_its_default(training):
    method = training.get("method", "full")
    settings = Settings.model_validate({"training": training})

    with pytest.raises(LockedSetting, match=r'were trained with ("adamw"|false);'):
        check_lock({"training.method": method}, settings, [])


def test_what_an_adapter_would_be_like_does_not_matter_without_one():
    settings = Settings.model_validate({"training": {"lora_dora": True}})

    assert check_lock({"training.method": "full"}, settings, []) == ()


def test_what_is_as_it_was_needs_no_permission():
    assert check_lock(locked_values(Settings()), Settings(), []) == ()
