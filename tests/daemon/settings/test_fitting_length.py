"""Which length is proposed, and what the model can take."""

import json

import pytest

from daemon.settings.fitting_length import CannotAdjust, model_limit, propose, write_length
from trainer.config.loader import load_settings
from trainer.protocol.data_report import TokenLengths


def lengths(p99):
    return TokenLengths(min=1, median=2, p95=3, p99=p99, max=10_000)


@pytest.mark.parametrize(
    "p99, current, limit, proposed",
    [
        (3000, 2048, 8192, 3008),
        (3008, 2048, 8192, 3008),
        (3009, 2048, 8192, 3072),
        (3000, 2048, 2500, 2500),
        (3000, 2048, None, 3008),
        (3000, 2048, 2048, None),
        (3000, 2048, 1024, None),
        (2049, 2048, None, 2112),
        (2048, 2048, None, None),
        (100, 2048, None, None),
    ],
)
def test_the_proposal_fits_the_rows_and_the_model_and_is_never_less(p99, current, limit, proposed):
    found = propose(lengths(p99), current=current, model_limit=limit)

    assert (found and found.length) == proposed


@pytest.mark.parametrize(
    "config, limit",
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 512}, "max_position_embeddings": 7}, 512),
        ({"n_positions": "many"}, None),
        ([], None),
    ],
)
@pytest.mark.parametrize("place, base_model", [("models/tiny", "tiny"), ("own/model", "own/model")])
def test_the_limit_of_a_model_on_this_disk_is_known(layout, config, limit, place, base_model):
    folder = layout.base / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))

    assert model_limit(layout, base_model) == limit


def test_the_limit_of_a_model_elsewhere_is_not(layout):
    assert model_limit(layout, "Qwen/Qwen3-0.6B") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_linked_configuration_stays_a_link_in_its_own_encoding(layout, tmp_path, encoding):
    target = tmp_path / "shared.json"
    target.write_text('{"model": {"base_model": "ö"}}', encoding=encoding)
    layout.config_file.symlink_to(target)

    write_length(layout, load_settings(layout.config_file, environment={}), 4096)

    assert layout.config_file.is_symlink()
    assert json.loads(target.read_bytes()) == {"model": {"base_model": "ö"}, "data": {"max_length": 4096}}


def test_a_length_of_the_command_line_is_not_overruled(layout):
    effective = load_settings(layout.config_file, environment={}, overrides=["data.max_length=512"])

    with pytest.raises(CannotAdjust, match="comes from the --set"):
        write_length(layout, effective, 4096)
