"""What is installed from a wheel, far from the clone, has everything that the clone has."""

import json
import os
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import rows, write_jsonl
from tests.wheel import ROOT, Installed, build_wheel, install
from trainer import __version__
from trainer.config.document import json_schema

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the wheel is; one for all processes of this run, because to build it takes seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            folder.mkdir()
            install(build_wheel(folder), folder / "environment")
    return folder


@pytest.fixture(scope="module")
def wheel(folder) -> Path:
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def elsewhere(folder) -> Installed:
    return Installed(folder / "environment")


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "trainer", "daemon"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert packed == {name for name in tracked if (ROOT / name).exists()}
    assert {"trainer/py.typed", "daemon/py.typed", "trainer/model/templates/qwen3.jinja"} <= packed


def test_the_version_of_the_wheel_is_that_of_the_code(wheel):
    assert wheel.name == f"training_daemon-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_from_the_wheel(elsewhere, command, tmp_path):
    result = elsewhere.run(command, "--help", cwd=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert "Options" in result.stdout


def test_the_code_that_runs_is_that_of_the_wheel(elsewhere, tmp_path):
    code = "import daemon, trainer; print(daemon.__file__, trainer.__file__)"

    result = elsewhere.run("python", "-c", code, cwd=tmp_path)

    assert [Path(name).parent.parent for name in result.stdout.split()] == [elsewhere.packages] * 2


def test_a_working_directory_and_its_schema_are_made_there(elsewhere, tmp_path):
    result = elsewhere.run("training_daemon", "init", "work", "--sample", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "work/config.schema.json").read_text()) == json_schema()


def test_a_daemon_in_the_background_is_that_of_the_wheel(elsewhere, tmp_path):
    started = elsewhere.run("training_daemon", "start", "--base-dir", "work", "--json", cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    command = Path(f"/proc/{json.loads(started.stdout)['pid']}/cmdline").read_text().split("\0")

    stopped = elsewhere.run("training_controller", "stop", "--now", "--base-dir", "work", cwd=tmp_path)

    assert command[0] == str(elsewhere.python)
    assert stopped.stdout == "the daemon has stopped\n", stopped.stderr


def test_a_service_is_written_with_the_paths_of_that_environment(elsewhere, tmp_path):
    result = elsewhere.run("training_daemon", "install-service", "--print", cwd=tmp_path)

    assert f"ExecStart={elsewhere.python} -P -m daemon.cli.training_daemon\n" in result.stdout


@pytest.mark.loads_torch
def test_a_worker_of_the_wheel_trains(elsewhere, tmp_path):
    write_jsonl(tmp_path / "chat.jsonl", rows(8))
    elsewhere.run("training_queue", "add", "chat.jsonl", "--base-dir", "work", cwd=tmp_path)

    result = elsewhere.run("training_daemon", "--once", "--base-dir", "work", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "work/models/current_model/model.safetensors").exists()
