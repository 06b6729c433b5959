"""training_daemon --check-config: every setting with its source, and what it names must be there."""

import json
import os

import pytest

from daemon.cli.training_daemon import app, setting_lines
from daemon.client.errors import InvalidSettings
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from trainer.protocol.files import write_json

run = runner_of(app)


def test_each_setting_is_shown_with_its_source(layout):
    write_json(layout.config_file, {"training": {"epochs": 3}}, durable=False)

    result = run(layout, "--check-config")

    assert result.exit_code == 0
    [line] = [line for line in result.stdout.splitlines() if line.startswith("  epochs ")]
    assert line.split() == ["epochs", "3", "config.json"]


@pytest.mark.parametrize("origin", ["default", "environment TRAINING_NOTIFY__EVENTS of this terminal"])
def test_a_long_value_leaves_the_source_in_its_column_on_a_narrow_terminal(origin):
    value = json.dumps(["completed", "failed", "blocked", "crashed", "recovered", "queue_empty"])

    lines = setting_lines("  events      ", value, origin, columns=80)
    piped = setting_lines("  events      ", value, origin, columns=None)

    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == origin
    assert " ".join(lines).split() == piped[0].split()
    assert len(piped) == 1


def test_a_profile_that_a_built_in_one_hides_is_remarked_and_no_problem(layout, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine-1.0.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    points = "[training_daemon.profiles]\nplain = mine:Plain\n"
    (tmp_path / "mine-1.0.dist-info" / "entry_points.txt").write_text(points)

    shown, document = run(layout, "--check-config"), run(layout, "--check-config", "--json")

    [remark] = json.loads(document.stdout)["remarks"]
    assert 'the profile "plain" of mine (mine:Plain) is never used' in remark
    assert (shown.exit_code, shown.stderr) == (0, f"note: {remark}\n")


@pytest.mark.parametrize("runs", [False, True])
def test_what_the_daemon_that_runs_was_given_beyond_it_is_remarked(layout, runs):
    given = ["training.epochs=2", "training.seed=7"]
    write_json(layout.process_file, {"pid": os.getpid(), "overrides": given}, durable=False)
    StatusBoard(layout.status_file, daemon_pid=os.getpid() if runs else None).publish()

    shown = run(layout, "--check-config", "--set", "training.seed=7")

    said = "the daemon that runs here has --set training.epochs=2; give the same here to see what it does"
    assert (shown.exit_code, shown.stderr) == (0, f"note: {said}\n" if runs else "")


@pytest.mark.parametrize(
    "section, keys, said",
    [
        ("validation", {"file": "gone.jsonl"}, 'validation.file is "gone.jsonl", but '),
        ("validation", {"suites": {"sums": "gone.jsonl"}}, 'validation.suites.sums is "gone.jsonl", but '),
        ("previews", {"file": "gone.jsonl"}, 'previews.file is "gone.jsonl", but '),
        ("model", {"base_model": "./gone"}, 'model.base_model is "./gone", but '),
        ("model", {"chat_template": "gone.jinja"}, 'model.chat_template is "gone.jinja", but '),
        ("notify", {"secret_file": "gone"}, 'notify.secret_file is "gone", but '),
        (
            "notify",
            {"command": ["./gone", "x"]},
            'notify.command begins with "./gone", which is no program',
        ),
        ("notify", {"command": ["gone-for-good"]}, 'notify.command begins with "gone-for-good"'),
        ("profile", {"name": "gone"}, 'profile.name is "gone"; expected one of plain, '),
        ("profile", {"name": "gone.py:Profile"}, 'profile.name is "gone.py:Profile"'),
    ],
)
def test_what_a_setting_names_must_be_there(layout, section, keys, said):
    write_json(layout.config_file, {section: keys}, durable=False)

    result = run(layout, "--check-config", "--json")

    [problem] = json.loads(result.stdout)["problems"]
    assert result.exit_code == InvalidSettings.exit_code
    assert problem.startswith(said)
    assert problem in result.stderr


@pytest.mark.parametrize(
    "content, said",
    [
        (b"{%- for m in messages -%}\n{{ m.content ", "which is no template at line 2: unexpected"),
        (b"{% nonsense %}", "which is no template at line 1: Encountered unknown tag 'nonsense'"),
        (b"\xff{{ messages }}", "which is no text: 'utf-8' codec can't decode"),
        (b"{{ 1 }}" * 200_000, "which has 1,400,000 bytes; expected at most 1,000,000"),
        (b"{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}", None),
    ],
)  # fmt: skip
def test_a_template_in_a_file_must_be_one(layout, content, said):
    (layout.base / "mine.jinja").write_bytes(content)
    write_json(layout.config_file, {"model": {"chat_template": "mine.jinja"}}, durable=False)

    result = run(layout, "--check-config", "--json")

    problems = json.loads(result.stdout)["problems"]
    assert result.exit_code == (InvalidSettings.exit_code if said else 0)
    assert [problem.startswith(f'model.chat_template is "mine.jinja", {said}') for problem in problems] == (
        [True] if said else []
    )


@pytest.mark.parametrize("name", ["tiny", "models/mine", "Qwen/Qwen3-0.6B"])
def test_a_model_may_be_built_in_a_folder_or_one_of_the_hub(layout, name):
    (layout.base / "models/mine").mkdir()
    write_json(layout.config_file, {"model": {"base_model": name}}, durable=False)

    assert run(layout, "--check-config").exit_code == 0
