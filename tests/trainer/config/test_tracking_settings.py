"""Options of trackers are checked where they stand, and no message or copy has a password."""

import pytest

from trainer.config.loader import BadConfig, settings_of

SERVER = "http://me:hunter2@host:5000"


def complaint(section, content):
    with pytest.raises(BadConfig) as caught:
        settings_of({section: content})
    return str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"wandb": {"mod": 1}}, 'unknown key "mod" in "tracking.wandb" (value 1); did you mean "mode"?'),
        ({"wandb": {"mode": "on"}}, "tracking.wandb.mode is \"on\"; expected 'online' or 'offline'"),
        (
            {"tensorbord": {}},
            'unknown key "tensorbord" in "tracking" (value {}); did you mean "tensorboard"?',
        ),
        ({"tensorboard": True}, "tracking.tensorboard is true; expected a JSON object"),
        ({"trackio": {"name": "a/b"}}, 'tracking.trackio.name is "a/b"; expected up to 80 letters, digits'),
        ({"wandb": {"server": "host"}}, 'tracking.wandb.server is "host"; expected an address that begins'),
    ],
)
def test_an_option_that_is_none_is_named_with_place_value_and_expectation(content, message):
    assert message in complaint("tracking", content)


def test_no_tracker_is_set_by_default():
    assert settings_of({}).tracking.wanted == []


def test_passwords_are_neither_copied_nor_quoted():
    settings = settings_of(
        {"tracking": {"mlflow": {"uri": SERVER}}, "notify": {"apprise": ["slack://hunter2/x"]}}
    )
    copies = settings.model_dump_json()

    assert settings.tracking.wanted[0].uri == SERVER
    assert "hunter2" not in copies
    assert "slack://***" in copies
    assert "hunter2" not in complaint("tracking", {"mlflow": {"uri": f"{SERVER} x"}})
    assert "hunter2" not in complaint("notify", {"apprise": ["slack:hunter2"]})


def test_another_place_is_another_destination(tmp_path):
    def destination(kind, **options):
        [found] = settings_of({"tracking": {kind: options}}).tracking.wanted
        return found.destination(tmp_path)

    assert destination("tensorboard") != destination("tensorboard", folder="elsewhere")
    assert destination("tensorboard") == destination("tensorboard", name="other")
    assert destination("mlflow") != destination("mlflow", uri=SERVER)
    assert destination("wandb") != destination("wandb", mode="offline")
