"""A working directory can be made before a daemon has run there."""

import json
from collections import Counter

import pytest

from daemon.client import Client
from daemon.client.errors import CannotCreate
from daemon.client.sample import CAPITALS, NUM_ROWS, sample_rows
from trainer.config.document import json_schema
from trainer.config.loader import load_settings
from trainer.data.checks.file_check import check_file
from trainer.protocol.layout import Layout


def test_a_new_folder_gets_its_folders_a_configuration_and_the_schema_of_it(tmp_path):
    client = Client(tmp_path / "new" / "work")

    made = client.create()

    assert (made.is_new, made.sample) == (True, None)
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in client.layout.folders())
    config = json.loads(client.layout.config_file.read_text())
    assert json.loads((client.layout.base / config["$schema"]).read_text()) == json_schema()
    assert load_settings(client.layout.config_file, environment={}).settings.model.base_model == "tiny"
    assert list(client.layout.inbox.glob("*.jsonl")) == []


def test_what_is_there_stays_as_it_is(tmp_path):
    client = Client(tmp_path)
    client.create()
    client.layout.config_file.write_text('{"training": {"epochs": 3}}')

    made = client.create(sample=True)

    assert not made.is_new
    assert client.layout.config_file.read_text() == '{"training": {"epochs": 3}}'


def test_the_sample_can_be_trained_and_its_settings_suit_the_model(tmp_path):
    client = Client(tmp_path / "work")

    made = client.create(sample=True)

    settings = load_settings(client.layout.config_file, environment={}).settings
    checked = check_file(client.layout.inbox / made.sample, max_line_bytes=settings.data.max_line_bytes)
    assert (checked.rows, checked.verdict(0.0)) == (made.sample_rows, None)
    assert settings.training.learning_rate == 2.5e-3


def test_no_row_of_the_sample_is_there_twice_and_every_capital_is_taught_often():
    rows = [*sample_rows()]

    assert len({json.dumps(row) for row in rows}) == len(rows) == NUM_ROWS
    taught = Counter(
        turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "assistant"
    )
    assert taught.keys() == {f"{capital}." for capital in CAPITALS.values()}
    assert min(taught.values()) > NUM_ROWS / len(CAPITALS)


@pytest.mark.parametrize("name", ["models", "logs", "inbox"])
def test_a_folder_that_belongs_to_something_else_is_not_closed_to_others(tmp_path, name):
    (tmp_path / name).mkdir(mode=0o755)

    with pytest.raises(CannotCreate, match=f"has {name}/ but no queue/"):
        Client(tmp_path).create()

    assert (tmp_path / name).stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "queue").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "work").write_text("no folder")

    with pytest.raises(CannotCreate, match="expected a writable folder"):
        Client(tmp_path / "work").create()


def test_a_daemon_that_makes_its_folder_writes_the_same_configuration(rig):
    rig.layout.config_file.unlink()

    rig.start().stop()

    made = Client(rig.layout.base.parent / "other").create()
    other = Layout(rig.layout.base.parent / "other")
    assert made.is_new
    assert rig.layout.config_file.read_text() == other.config_file.read_text()


@pytest.mark.parametrize(
    "place", ["inbox", "inbox/high/new", "queue/failed", "models/x", "logs", "status", "control"]
)
def test_no_working_directory_begins_among_the_data_of_another(tmp_path, place):
    Client(tmp_path / "work").create()
    inner = Client(tmp_path / "work" / place)

    for begin in (inner.create, inner.start):
        with pytest.raises(
            CannotCreate, match=rf"is inside {place.split('/')[0]}/ of the working directory .*/work"
        ):
            begin()

    assert not inner.is_working_directory


def test_a_link_into_the_data_of_another_is_no_way_around(tmp_path):
    Client(tmp_path / "work").create()
    (tmp_path / "link").symlink_to(tmp_path / "work" / "inbox")

    with pytest.raises(CannotCreate, match="is inside inbox/"):
        Client(tmp_path / "link").create()


@pytest.mark.parametrize("place", ["work/other", "inbox/work"])
def test_a_folder_beside_the_data_of_another_may_begin(tmp_path, place):
    Client(tmp_path / "work").create()

    assert Client(tmp_path / place).create().is_new
