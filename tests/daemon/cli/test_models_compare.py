"""The command training_models compare: what it asks for, and what it refuses before anything is loaded."""

import json

import pytest

from daemon.cli.training_models import app
from daemon.client import compare as client
from tests.daemon.cli.runner import runner_of
from tests.health import publish
from tests.support import rows, write_jsonl
from trainer.protocol.comparison import Compared, LossDifference
from trainer.protocol.layout import Layout

run = runner_of(app)
LOSS = LossDifference(rows=4, left_out=0, before=3.0, after=2.0, difference=-1.0, low=-2.0, high=0.5, t=-1.2)


@pytest.fixture
def layout(tmp_path):
    """A working directory with two versions."""
    layout = Layout(tmp_path / "work")
    layout.create()
    for step in (3, 5):
        publish(layout, step, step=step, settings={"training": {"learning_rate": step / 1000}})
        assert run(layout, "create").exit_code == 0
    return layout


@pytest.fixture
def orders(monkeypatch):
    """The orders that would have been carried out."""
    given = []

    def ask(module, order, answer_type, *, on_start, on_progress):
        given.append(order)
        return Compared(device="cpu", loss=LOSS, answers=())

    monkeypatch.setattr(client, "ask", ask)
    return given


def test_rows_and_prompts_are_those_of_the_command_line(layout, orders, tmp_path):
    validation = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    prompts = write_jsonl(tmp_path / "prompts.jsonl", rows(2))

    options = ("--rows", "2", "--validation", str(validation), "--prompts", str(prompts))
    result = run(layout, "compare", "v001", "current", *options)

    assert result.exit_code == 0, result.exception
    [order] = orders
    assert (order.before.name, order.after.name, order.daemon_runs) == ("v001", "v002", False)
    assert (order.settings["validation"]["file"], order.settings["validation"]["max_rows"]) == (
        str(validation),
        2,
    )
    assert (order.settings["previews"]["file"], order.settings["previews"]["prompts"]) == (str(prompts), [])


def test_everything_is_there_for_programs(layout, orders, tmp_path):
    validation = write_jsonl(tmp_path / "rows.jsonl", rows(3))

    shown = run(layout, "compare", "v001", "v002", "--validation", str(validation), "--json").stdout

    found = json.loads(shown)
    assert (found["before"]["version"], found["after"]["global_step"]) == ("v001", 5)
    assert found["settings"] == [{"setting": "training.learning_rate", "before": 0.003, "after": 0.005}]
    assert found["measured"]["loss"]["difference"] == -1.0


@pytest.mark.parametrize(
    "options, problem",
    [
        ((), "there are no rows and no prompts to compare with"),
        (("--validation", "nowhere.jsonl"), "--validation: nowhere.jsonl is not a file"),
        (("--prompts", "no\x1bwhere.jsonl"), "--prompts: no\\x1bwhere.jsonl is not a file"),
    ],
)
def test_without_anything_to_compare_with_it_is_refused(layout, orders, options, problem):
    result = run(layout, "compare", "v001", "v002", *options)

    assert result.exit_code == 1
    assert problem in str(result.exception)
    assert orders == []


def test_an_unknown_version_is_refused(layout, orders):
    result = run(layout, "compare", "v001", "v009")

    assert result.exit_code == 1
    assert "no version is named 'v009'" in str(result.exception)
