"""One setting changes in the text of config.json, and the rest stays as somebody has written it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings.config_edit import with_setting


@pytest.mark.parametrize(
    "before, after",
    [
        ("", '{\n  "data": {\n    "max_length": 4096\n  }\n}\n'),
        ("{}", '{"data": {"max_length": 4096}}'),
        ('{"data": {"max_length": 2048}}', '{"data": {"max_length": 4096}}'),
        ('{"data": {\n}}', '{"data": {"max_length": 4096}}'),
        ('{ "data": { "seed": 1e-5 } }', '{ "data": { "max_length": 4096, "seed": 1e-5 } }'),
        (
            '{\n\t"training": {"learning_rate": 1e-5},\n\t"data":\n\t{\n\t\t"cache_max_bytes" : 0\n\t}\n}\n',
            '{\n\t"training": {"learning_rate": 1e-5},\n\t"data":\n\t{\n\t\t"max_length": 4096,'
            '\n\t\t"cache_max_bytes" : 0\n\t}\n}\n',
        ),
        (
            '{\n    "model": {"base_model": "data"}\n}\n',
            '{\n    "data": {"max_length": 4096},\n    "model": {"base_model": "data"}\n}\n',
        ),
    ],
)
def test_only_the_one_setting_changes(before, after):
    assert with_setting(before, "data", "max_length", 4096) == after


KEYS = st.sampled_from(["data", "max_length", "a", 'quo"te', "{", "ä"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4)


@pytest.mark.long
@given(CONFIGS, st.sampled_from([None, 0, 2, "\t"]), st.sampled_from([(",", ":"), (", ", " : ")]))
def test_any_configuration_has_the_new_value_and_all_its_old_ones(config, indent, separators):
    text = json.dumps(config, indent=indent, separators=separators)

    changed = json.loads(with_setting(text, "data", "max_length", 7))

    assert changed == config | {"data": config.get("data", {}) | {"max_length": 7}}
