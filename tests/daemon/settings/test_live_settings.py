"""The settings in force while config.json changes."""

import os

import pytest

from daemon.journal.events import SettingsChanged
from daemon.settings.live_settings import LiveSettings, needs_new_worker
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


def write(path, content):
    partial = path.with_suffix(".new")
    partial.write_text(content)
    os.replace(partial, path)


def epochs(number):
    return f'{{"training": {{"epochs": {number}}}}}'


def test_an_unchanged_file_is_not_read_again(path):
    write(path, epochs(2))
    live = LiveSettings(path, [])

    assert live.reload_if_changed() is False
    assert live.current.training.epochs == 2


def test_a_change_takes_effect_once(path):
    write(path, epochs(2))
    live = LiveSettings(path, [])

    write(path, epochs(3))

    assert (live.reload_if_changed(), live.reload_if_changed()) == (True, False)
    assert live.current.training.epochs == 3


def test_a_touch_counts_as_a_change(path):
    write(path, epochs(2))
    live = LiveSettings(path, [])

    os.utime(path, (1, 1))

    assert live.reload_if_changed() is True


@pytest.mark.parametrize("content", ["", "{", "[]", epochs(0), '{"training": {"epoch": 2}}'])
def test_an_invalid_file_leaves_the_settings_before_in_force(path, content):
    write(path, epochs(2))
    live = LiveSettings(path, [])

    write(path, content)

    assert live.reload_if_changed() is True
    assert live.current.training.epochs == 2
    assert "the previous settings stay in force" in live.problem


def test_a_corrected_file_takes_the_problem_away(path):
    write(path, epochs(2))
    live = LiveSettings(path, [])
    write(path, epochs(0))
    live.reload_if_changed()

    write(path, epochs(4))
    live.reload_if_changed()

    assert (live.problem, live.current.training.epochs) == (None, 4)


def test_a_file_that_is_removed_means_the_defaults(path):
    write(path, epochs(2))
    live = LiveSettings(path, [])

    path.unlink()

    assert live.reload_if_changed() is True
    assert live.current == Settings()


def test_what_a_daemon_reads_only_when_it_starts_is_named_while_it_differs(path):
    settings = LiveSettings(path, ["daemon.settle_slow_s=3"])
    path.write_text('{"daemon": {"rescan_s": 9, "settle_slow_s": 9, "max_attempts": 9}}')

    settings.reload_if_changed()

    assert (settings.is_there, settings.after_restart) == (True, ("daemon.rescan_s",))
    path.unlink()
    settings.reload_if_changed()
    assert (settings.is_there, settings.after_restart) == (False, ())


@pytest.mark.parametrize(
    "fields, said",
    [
        ({}, "config.json has changed; the next job trains with it"),
        ({"is_there": False}, "config.json is gone; the next job trains without it"),
        (
            {"after_restart": ("daemon.rescan_s",)},
            "config.json has changed; the next job trains with it; daemon.rescan_s is read when the daemon "
            "starts: training_daemon restart",
        ),
    ],
)
def test_a_change_says_from_when_it_holds(fields, said):
    assert SettingsChanged(**fields).message == said


def test_overrides_stay_in_force(path):
    write(path, epochs(2))
    live = LiveSettings(path, ["training.epochs=7"])

    write(path, epochs(3))
    live.reload_if_changed()

    assert live.current.training.epochs == 7


def test_invalid_settings_at_the_start_are_an_error(path):
    write(path, epochs(0))

    with pytest.raises(BadConfig, match="epochs is 0"):
        LiveSettings(path, [])


@pytest.mark.parametrize(
    "section, key, value, is_needed",
    [
        ("model", "base_model", "other", True),
        ("training", "precision", "fp32", True),
        ("training", "cpu_threads", 1, True),
        ("training", "method", "qlora", True),
        ("training", "optimizer", "muon", True),
        ("training", "lora_dora", True, True),
        ("training", "lora_rslora", True, True),
        ("training", "tf32", True, True),
        ("training", "compile", True, True),
        ("training", "activation_checkpointing", "on", True),
        ("training", "processes", 2, True),
        ("training", "schedule", "cosine", False),
        ("training", "neftune_noise_alpha", 5.0, False),
        ("training", "epochs", 5, False),
        ("training", "learning_rate", 0.5, False),
        ("data", "max_length", 100, True),
        ("checkpoints", "interval_s", 1.0, False),
        ("daemon", "rescan_s", 1.0, False),
    ],
)
def test_only_what_the_loaded_model_depends_on_needs_a_new_worker(section, key, value, is_needed):
    wanted = Settings.model_validate({section: {key: value}})

    assert needs_new_worker(Settings(), wanted) == is_needed
