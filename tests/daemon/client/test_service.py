"""The unit that `training_daemon install-service` writes, and what systemd is asked to do with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.client.errors import CannotInstall
from daemon.client.service import install, monitor_unit_text, unit_file, unit_text
from daemon.status.board import StatusBoard
from trainer.protocol.layout import Layout


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that notes what it is asked; it fails for as long as `fails` exists."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\n'
        f"if [ -e {folder}/fails ]; then echo 'Failed to connect to bus' >&2; exit 1; fi\n"
    )
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def asked(folder):
    return (folder / "asked").read_text().splitlines()


def test_the_unit_runs_this_environment_in_this_folder():
    text = unit_text(Layout(Path("/srv/training")))

    assert f"ExecStart={sys.executable} -P -m daemon.cli.training_daemon\n" in text
    assert "Environment=TRAINING_BASE_DIR=/srv/training\n" in text
    assert "WantedBy=default.target\n" in text
    assert "User=" not in text
    assert "ProtectSystem" not in text


def test_the_unit_of_the_web_page_prints_no_link_into_the_log():
    text = monitor_unit_text(Layout(Path("/srv/training")))

    assert f"ExecStart={sys.executable} -P -m daemon.cli.training_monitor --quiet\n" in text
    assert "Environment=TRAINING_BASE_DIR=/srv/training\n" in text
    assert "User=" not in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
@pytest.mark.parametrize("text_of", [unit_text, monitor_unit_text])
@pytest.mark.parametrize("name", ["training", 'two words and a "quote"', "100 % of $HOME", "back\\slash"])
def test_systemd_reads_every_folder_as_it_is_meant(tmp_path, name, text_of):
    unit = tmp_path / "training-daemon.service"
    unit.write_text(text_of(Layout(tmp_path / name)))

    result = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_a_word_is_quoted_as_systemd_unquotes_it():
    text = unit_text(Layout(Path('/srv/50 % "done"\\')))

    assert 'Environment="TRAINING_BASE_DIR=/srv/50 %% \\"done\\"\\\\"\n' in text


def test_a_folder_that_a_unit_cannot_name_is_refused():
    with pytest.raises(CannotInstall, match="characters that a unit cannot have"):
        unit_text(Layout(Path("/srv/new\nline")))


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x/y", "x" * 101])
def test_a_name_that_is_no_name_of_a_service_is_refused(tmp_path, name):
    with pytest.raises(CannotInstall, match="expected letters"):
        unit_file(tmp_path, name)


def test_systemd_is_asked_to_start_it_now_and_with_the_user(systemctl, layout, tmp_path):
    unit = unit_file(tmp_path, "mine")

    found = install(layout, unit, unit_text(layout))

    assert unit.read_text() == unit_text(layout)
    assert asked(systemctl) == ["--user daemon-reload", "--user enable mine", "--user restart mine"]
    assert (found.is_enabled, found.problem, found.to_do) == (True, None, ["loginctl enable-linger"])


def test_where_systemd_does_not_run_the_commands_are_left_to_a_person(systemctl, layout, tmp_path):
    (systemctl / "fails").touch()

    found = install(layout, unit_file(tmp_path, "mine"), unit_text(layout))

    assert not found.is_enabled
    assert found.problem == "systemctl --user daemon-reload: Failed to connect to bus"
    assert found.to_do[1:3] == ["systemctl --user enable mine", "systemctl --user restart mine"]


def test_without_systemctl_the_unit_is_written_all_the_same(layout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    unit = unit_file(tmp_path, "mine")

    found = install(layout, unit, unit_text(layout))

    assert unit.exists()
    assert found.problem == "systemctl is not installed"


def test_a_daemon_that_runs_by_hand_is_not_given_a_rival(layout, tmp_path):
    StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()
    unit = unit_file(tmp_path, "mine")

    with pytest.raises(CannotInstall, match="stop it first: training_controller stop --now"):
        install(layout, unit, unit_text(layout))

    assert not unit.exists()
