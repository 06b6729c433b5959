"""What the command training_health changes: permissions for locked settings, and pins."""

import os
import shutil

import pytest

from daemon.cli.training_health import app
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.health import publish, tree
from trainer.protocol.files import read_json, write_json
from trainer.protocol.manifest import Unlocked
from trainer.protocol.status import State

run = runner_of(app)


# ---- unlock


def lock_length(layout, was=512, becomes=1024):
    publish(layout, 1, locked={"data.max_length": was})
    write_json(layout.config_file, {"data": {"max_length": becomes}}, durable=False)


def permissions(layout):
    return [Unlocked.model_validate(item) for item in read_json(layout.models / "unlocked.json")]


@pytest.mark.parametrize("arguments, answer", [(["--yes"], None), ([], "y\n")])
def test_unlock_shows_both_values_and_writes_a_permission(layout, arguments, answer):
    lock_length(layout)

    result = run(layout, "unlock", "data.max_length", *arguments, input=answer)

    assert result.exit_code == 0
    assert "from 512 to 1024" in result.stdout
    [permission] = permissions(layout)
    assert (permission.setting, permission.was, permission.becomes) == ("data.max_length", 512, 1024)


def test_unlock_changes_nothing_without_consent(layout):
    lock_length(layout)

    result = run(layout, "unlock", "data.max_length", input="n\n")

    assert result.exit_code != 0
    assert not (layout.models / "unlocked.json").exists()


def test_with_json_nobody_is_asked(layout):
    lock_length(layout)

    result = run(layout, "unlock", "data.max_length", "--json")

    assert "add --yes" in str(result.exception)
    assert not (layout.models / "unlocked.json").exists()


def test_unlocking_twice_gives_one_permission_and_another_value_another_one(layout):
    lock_length(layout)
    run(layout, "unlock", "data.max_length", "--yes")
    again = run(layout, "unlock", "data.max_length", "--yes")
    write_json(layout.config_file, {"data": {"max_length": 2048}}, durable=False)
    run(layout, "unlock", "data.max_length", "--yes")

    assert "was already allowed" in again.stdout
    assert [permission.becomes for permission in permissions(layout)] == [1024, 2048]


@pytest.mark.parametrize(
    "state, more",
    [
        (None, ""),
        (State.TRAINING, ""),
        (
            State.BLOCKED,
            "; a blocked daemon continues on its own; to continue immediately: training_controller resume",
        ),
    ],
)
def test_unlock_says_how_to_continue_only_where_a_daemon_is_blocked(layout, state, more):
    lock_length(layout)
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid() if state else None)
    board.set_state(state or State.STOPPED)
    board.publish()

    shown = run(layout, "unlock", "data.max_length", "--yes").stdout

    assert shown == f"data.max_length: from 512 to 1024: allowed{more}\n"


def test_unlock_allows_what_the_daemon_that_runs_was_given_with_set(layout):
    publish(layout, 1, locked={"data.max_length": 2048})
    write_json(layout.process_file, {"overrides": ["data.max_length=1024"]}, durable=False)
    without = run(layout, "unlock", "data.max_length", "--yes")
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()

    blocked = run(layout, "check").stdout
    restart = run(layout, "verify").stdout
    allowed = run(layout, "unlock", "data.max_length", "--yes").stdout
    well = run(layout, "check").stdout

    assert "in config.json or with training_daemon restart --set" in str(without.exception)
    for shown in (blocked, restart):
        assert "data.max_length is 1024, but the checkpoints in models/ were trained with 2048" in shown
        assert "--no-set" in shown
    assert allowed == "data.max_length: from 2048 to 1024: allowed\n"
    assert "data.max_length: changed on purpose" in well


def test_unlock_is_refused_without_a_checkpoint(layout):
    result = run(layout, "unlock", "data.max_length", "--yes")

    assert "there is no complete checkpoint" in str(result.exception)


@pytest.mark.parametrize(
    "setting, becomes, words",
    [
        ("training.seed", 1024, "training.seed is not locked; step-000000000-1 locks data.max_length"),
        ("\x1b[31m", 1024, "\\x1b[31m is not locked"),
        ("data.max_length", 512, "data.max_length is 512, as in the newest checkpoint"),
    ],
)
def test_unlock_is_refused_where_nothing_would_change(layout, setting, becomes, words):
    lock_length(layout, becomes=becomes)

    result = run(layout, "unlock", setting, "--yes")

    assert words in str(result.exception)


@pytest.mark.parametrize("content", ["{", "{}", '[{"setting": 1}]'])
def test_permissions_that_make_no_sense_are_not_overwritten(layout, content):
    lock_length(layout)
    (layout.models / "unlocked.json").write_text(content)

    result = run(layout, "unlock", "data.max_length", "--yes")

    assert "unlocked.json" in str(result.exception)
    assert (layout.models / "unlocked.json").read_text() == content


# ---- pins


def pins(layout):
    return sorted(path.name for path in (layout.models / "checkpoints").glob("*.pin"))


@pytest.mark.parametrize("name", ["current", "step-000000010-1"])
def test_a_checkpoint_is_pinned_by_its_name_or_as_the_current_one(layout, name):
    publish(layout, 1, step=10)

    first = run(layout, "pin", name)
    second = run(layout, "pin", name)

    assert first.stdout == "step-000000010-1 pinned\n"
    assert second.stdout == "step-000000010-1 was already pinned\n"
    assert pins(layout) == ["step-000000010-1.pin"]


def test_unpin_removes_the_pin(layout):
    publish(layout, 1, step=10)
    run(layout, "pin", "current")

    first = run(layout, "unpin", "current")
    second = run(layout, "unpin", "current")

    assert first.stdout == "step-000000010-1 is no longer pinned\n"
    assert second.stdout == "step-000000010-1 was not pinned\n"
    assert pins(layout) == []


def test_a_pin_that_has_outlived_its_checkpoint_can_be_removed(layout):
    shutil.rmtree(publish(layout, 1, step=10))
    (layout.models / "checkpoints" / "step-000000010-1.pin").touch()

    run(layout, "unpin", "step-000000010-1")

    assert pins(layout) == []


@pytest.mark.parametrize("command", ["pin", "unpin"])
@pytest.mark.parametrize("name", ["nope", "../checkpoints/step-000000010-1", "", ".", "\x1b[31m"])
def test_a_name_that_is_no_checkpoint_is_refused(layout, command, name):
    publish(layout, 1, step=10)
    before = tree(layout)

    result = run(layout, command, name)

    assert "there are: step-000000010-1" in str(result.exception)
    assert "\x1b" not in str(result.exception)
    assert tree(layout) == before
