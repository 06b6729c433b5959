"""How the effective settings come about, and what a wrong one is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.config.loader import BadConfig, Effective, load_settings, settings_of
from trainer.config.schema import Settings, sections


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def load(config_file: Path, *overrides: str, environment: dict[str, str] | None = None) -> Effective:
    return load_settings(config_file, environment=environment or {}, overrides=overrides)


def complaint(config_file: Path, *overrides: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(BadConfig) as caught:
        load(config_file, *overrides, environment=environment)
    return str(caught.value)


def write(config_file: Path, value: Any) -> None:
    config_file.write_text(json.dumps(value))


# ---- precedence and origins


def test_without_anything_given_everything_is_the_default(config_file):
    assert load(config_file) == Effective(Settings(), {})


@pytest.mark.parametrize(
    "in_file, in_environment, in_override, epochs, origin",
    [
        (False, False, False, 1, None),
        (True, False, False, 2, "config.json"),
        (False, True, False, 3, "environment"),
        (True, True, False, 3, "environment"),
        (False, False, True, 4, "--set"),
        (True, True, True, 4, "--set"),
        (True, False, True, 4, "--set"),
    ],
)
def test_the_later_place_wins_and_is_reported(
    config_file, in_file, in_environment, in_override, epochs, origin
):
    if in_file:
        write(config_file, {"training": {"epochs": 2}})
    environment = {"TRAINING__TRAINING__EPOCHS": "3"} if in_environment else {}
    overrides = ["training.epochs=4"] if in_override else []

    effective = load(config_file, *overrides, environment=environment)

    assert effective.settings.training.epochs == epochs
    assert effective.origins.get("training.epochs") == origin


def test_places_are_mixed_key_by_key(config_file):
    write(config_file, {"training": {"epochs": 2, "seed": 7}, "data": {"max_length": 64}})

    effective = load(config_file, "training.epochs=4", environment={"TRAINING__DAEMON__RESCAN_S": "2"})

    assert (effective.settings.training.epochs, effective.settings.training.seed) == (4, 7)
    assert effective.origins == {
        "training.epochs": "--set",
        "training.seed": "config.json",
        "data.max_length": "config.json",
        "daemon.rescan_s": "environment",
    }


def test_the_last_of_two_overrides_wins(config_file):
    assert load(config_file, "training.seed=1", "training.seed=2").settings.training.seed == 2


def test_a_setting_given_as_its_default_has_an_origin(config_file):
    write(config_file, {"training": {"epochs": 1}})

    assert load(config_file).origins == {"training.epochs": "config.json"}


def test_foreign_variables_and_the_editors_schema_are_no_settings(config_file):
    write(config_file, {"$schema": "./docs/config.schema.json"})

    effective = load(config_file, environment={"TRAINING_BASE_DIR": "/x", "HOME": "/root"})

    assert effective.origins == {}


@pytest.mark.parametrize(
    "override, section, key, value",
    [
        ("model.base_model=tiny", "model", "base_model", "tiny"),
        ("model.base_model=a=b", "model", "base_model", "a=b"),
        ('model.base_model="2"', "model", "base_model", "2"),
        ("validation.file=null", "validation", "file", None),
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),
        ("checkpoints.interval_s=5", "checkpoints", "interval_s", 5.0),
        ('profile.options={"a": [1, null]}', "profile", "options", {"a": [1, None]}),
    ],
)
def test_a_text_is_read_as_json_or_as_itself(config_file, override, section, key, value):
    settings = load(config_file, override).settings

    assert getattr(getattr(settings, section), key) == value


def test_a_byte_order_mark_is_overlooked(config_file):
    config_file.write_bytes(b'\xef\xbb\xbf{"training": {"epochs": 2}}')

    assert load(config_file).settings.training.epochs == 2


def test_settings_cannot_be_changed_and_survive_json(config_file):
    settings = load(config_file, "training.epochs=3", 'profile.options={"a": 1.5}').settings

    assert Settings.model_validate(json.loads(json.dumps(settings.model_dump(mode="json")))) == settings
    with pytest.raises(ValueError, match="frozen"):
        settings.training.epochs = 4


# ---- what is refused


@pytest.mark.parametrize(
    "content, told",
    [
        (b"", "no JSON value begins here"),
        (b'{"training": }', "line 1, column 14: no JSON value begins here"),
        (b'{"training": {},}', "line 1, column"),
        (b"{'training': {}}", "double quotes"),
        (b"// none\n{}", "no JSON value begins here"),
        (b'{"a": "\xff"}', "can't decode"),
        (b"[" * 100_000, "recursion"),
        (b'{"training": {"seed": ' + b"9" * 5000 + b"}}", "digits"),
    ],
)
def test_a_file_that_is_not_json_is_named_with_the_place(config_file, content, told):
    config_file.write_bytes(content)

    message = complaint(config_file)

    assert message.startswith(f"{config_file}: ")
    assert told in message
    assert "; expected a JSON object in UTF-8" in message


@pytest.mark.parametrize(
    "content, hint",
    [
        ('{"data": {"max_length": 9, }}', "; a comma before } is not allowed"),
        ('{"data": [1,\n]}', "; a comma before ] is not allowed"),
        ('{"data": ",}" "}', ""),
    ],
)
def test_a_comma_too_many_is_named(tmp_path, content, hint):
    config = tmp_path / "config.json"
    config.write_text(content)

    with pytest.raises(BadConfig) as raised:
        load_settings(config, environment={})

    assert str(raised.value).endswith(f"expected a JSON object in UTF-8{hint}")


def test_a_file_that_cannot_be_read_is_named(config_file):
    config_file.mkdir()

    assert complaint(config_file) == f"{config_file}: Is a directory; expected a readable JSON file"


@pytest.mark.parametrize(
    "value, message",
    [
        ([], 'config.json: found []; expected a JSON object with sections such as "training"'),
        ({"training": 3}, "config.json: training is 3; expected a JSON object"),
        ({"trainig": {}}, 'config.json: unknown section "trainig"; did you mean "training"?'),
        ({"learning_rate": 1}, 'config.json: "learning_rate" is at the top level; it belongs in "training"'),
        (
            {"training": {"lerning_rate": 1e-4}},
            'config.json: unknown key "lerning_rate" in "training" (value 0.0001); '
            'did you mean "learning_rate"?',
        ),
        (
            {"model": {"zzz": "\x1b[2J"}},
            'config.json: unknown key "zzz" in "model" (value "\\u001b[2J"); '
            "expected one of base_model, chat_template, template_options, grow_vocabulary",
        ),
        (
            {"data": {"fields": {"frage": "prompt"}}},
            'config.json: data.fields is {"frage": "prompt"}; expected keys among messages, conversations, '
            "instruction, input, output, history, prompt, completion, context, text, system, tools, "
            "metadata, skill, difficulty, source, role, content, from, value, tool_calls, train; not frage",
        ),
        (
            {"data": {"fields": {"prompt": "a", "completion": "a"}}},
            'config.json: data.fields is {"prompt": "a", "completion": "a"}; '
            "expected a name of its own for each part of a row",
        ),
        (
            {"data": {"fields": {"prompt": ""}}},
            'config.json: data.fields.prompt is ""; expected at least 1 character',
        ),
        (
            {"validation": {"file": "a\0b"}},
            'config.json: validation.file is "a\\u0000b"; expected a name without NUL characters',
        ),
        (
            {"training": {"learning_rate": 2}},
            "config.json: training.learning_rate is 2; expected a number in (0, 1)",
        ),
    ],
)
def test_an_error_in_the_file_says_place_key_value_and_way_out(config_file, value, message):
    write(config_file, value)

    assert complaint(config_file) == message


def test_an_unknown_section_without_a_near_one_lists_them_all(config_file):
    assert complaint(config_file, "q.x=1").endswith(f"expected one of {', '.join(sections())}")


@pytest.mark.parametrize(
    "variable, message",
    [
        ("TRAINING__TRAINING__EPOCHS", 'training.epochs is "x"; expected a valid integer'),
        (
            "TRAINING__TRAINING__EPOCH",
            'unknown key "epoch" in "training" (value "x"); did you mean "epochs"?',
        ),
        ("TRAINING__DAEMONS__RESCAN_S", 'unknown section "daemons"; did you mean "daemon"?'),
        ("TRAINING__EPOCHS", '"epochs" is at the top level; it belongs in "training"'),
    ],
)
def test_an_error_in_the_environment_names_the_variable(config_file, variable, message):
    assert complaint(config_file, environment={variable: "x"}) == f"{variable}: {message}"


@pytest.mark.parametrize("text", ["training", "training.epochs", "epochs=1", ""])
def test_an_override_without_section_key_and_value_is_refused(config_file, text):
    assert complaint(config_file, text).startswith(f"--set {text}: expected section.key=value")


@pytest.mark.parametrize(
    "override, told",
    [
        ("training.epochs=1.0", "training.epochs is 1.0; expected a valid integer"),
        ("training.epochs=true", "training.epochs is true; expected a valid integer"),
        ("training.epochs=null", "training.epochs is null; expected a valid integer"),
        ('training.epochs="1"', 'training.epochs is "1"; expected a valid integer'),
        ('training.learning_rate="1e-4"', 'training.learning_rate is "1e-4"; expected a valid number'),
        ("training.learning_rate=true", "training.learning_rate is true; expected a valid number"),
        ("training.precision=int8", "is \"int8\"; expected 'auto', 'bf16', 'fp16' or 'fp32'"),
        ("training.micro_batch_tokens=all", "is \"all\"; expected a valid integer or 'auto'"),
        ("training.micro_batch_tokens=0", "is 0; expected a number greater than or equal to 1 or 'auto'"),
        ("model.base_model=1", "model.base_model is 1; expected a valid string"),
        ("model.base_model=", 'model.base_model is ""; expected at least 1 character'),
        ("profile.options=[1]", "profile.options is [1]; expected a valid dictionary"),
        ("training.epochs=" + "[" * 100_000, "expected a valid integer"),
        ("training.learning_rate=NaN", "training.learning_rate is NaN; expected a finite number"),
        ("checkpoints.interval_s=Infinity", "checkpoints.interval_s is Infinity; expected a finite number"),
        ("checkpoints.interval_s=1e400", "checkpoints.interval_s is Infinity; expected a finite number"),
        ('profile.options={"a": [NaN]}', "is NaN; expected a finite number"),
        ("disk.min_free_bytes=" + "9" * 400, "99…; expected integers from -9223372036854775807 to 92233720"),
        ('profile.options={"a": [-9223372036854775808]}', "}; expected integers from -9223372036854775807 "),
    ],
)
def test_a_value_of_the_wrong_type_is_never_converted(config_file, override, told):
    message = complaint(config_file, override)

    assert message.startswith(f"--set {override.partition('=')[0]}: ")
    assert told in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "key, inside, outside, told",
    [
        ("training.epochs", ["1"], ["0", "-1"], "a number greater than or equal to 1"),
        ("training.learning_rate", ["1e-300", "0.999"], ["0", "1", "1.0"], "a number in (0, 1)"),
        ("training.weight_decay", ["0", "0.999"], ["1", "-0.001"], "a number in [0, 1)"),
        ("data.max_bad_row_fraction", ["0", "1"], ["1.001", "-0.001"], "a number in [0, 1]"),
        ("training.cpu_threads", ["null", "1"], ["0"], "a number greater than or equal to 1"),
        ("daemon.rescan_s", ["1e-9"], ["0"], "a number greater than 0"),
        ("checkpoints.keep_last", ["2"], ["1"], "a number greater than or equal to 2"),
        ("disk.min_free_bytes", ["0", "9223372036854775807"], ["-1"], "a number greater than or equal to 0"),
        ("data.max_line_bytes", ["1024"], ["1023"], "a number greater than or equal to 1024"),
    ],
)
def test_bounds_hold_to_the_edge_and_are_told(config_file, key, inside, outside, told):
    for value in inside:
        load(config_file, f"{key}={value}")
    for value in outside:
        assert complaint(config_file, f"{key}={value}") == f"--set {key}: {key} is {value}; expected {told}"


def test_all_bad_values_are_told_at_once_each_with_its_own_place(config_file):
    write(config_file, {"training": {"epochs": 0}})

    message = complaint(config_file, "data.max_length=7", environment={"TRAINING__TRAINING__SEED": "-1"})

    assert sorted(line.partition(" is ")[0] for line in message.splitlines()) == [
        "--set data.max_length: data.max_length",
        "TRAINING__TRAINING__SEED: training.seed",
        "config.json: training.epochs",
    ]


def test_a_step_of_one_row_has_no_room_for_a_replayed_one(config_file):
    one_row = ("training.batch_size=1", "training.gradient_accumulation=1")

    message = complaint(config_file, *one_row, "training.replay_fraction=0.25")

    assert message == (
        "--set training.replay_fraction: training.replay_fraction is 0.25; expected 0 where batch_size and "
        "gradient_accumulation are 1, because a step then has one row only; raise one of them"
    )
    assert load(config_file, *one_row).settings.training.replay_fraction == 0
    assert load(config_file, one_row[0], "training.replay_fraction=0.25").settings.training.batch_size == 1


def test_a_bad_value_that_a_later_place_replaces_does_no_harm(config_file):
    write(config_file, {"training": {"epochs": 0}})

    assert load(config_file, "training.epochs=2").settings.training.epochs == 2


@pytest.mark.parametrize(
    "content, said",
    [
        ({"training": {"learning_rate": 2}}, "training.learning_rate is 2; expected a number in (0, 1)"),
        ({"training": {"lr": 2}}, 'unknown key "lr" in "training"'),
        ({"learning_rate": 2}, '"learning_rate" is at the top level; it belongs in "training"'),
        ({"training": 2}, "training is 2; expected a JSON object"),
    ],
)
def test_settings_for_the_library_are_refused_in_a_sentence(content, said):
    with pytest.raises(BadConfig) as found:
        settings_of(content)

    assert str(found.value).startswith("settings: ")
    assert said in str(found.value)


def test_settings_for_the_library_come_neither_from_a_file_nor_from_the_environment(monkeypatch):
    monkeypatch.setenv("TRAINING__TRAINING__EPOCHS", "7")

    settings = settings_of({"training": {"seed": 4}})

    assert (settings.training.seed, settings.training.epochs) == (4, 1)


@pytest.mark.parametrize(
    "address",
    [
        *("", "example.org", "ftp://example.org", "https://"),
        *("https://me:pw@example.org", "http://a b", "http://a:99999"),
    ],
)
def test_a_webhook_that_is_no_web_address_is_refused(address):
    with pytest.raises(BadConfig, match="expected an address such as https:"):
        settings_of({"notify": {"webhook": address}})
