"""What is installed from a wheel, far from the clone, has everything that the clone has."""

import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.wheel import ROOT, Installed, build_wheel, install
from trainer import __version__

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("elsewhere") / "environment")


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


def test_the_schema_of_the_settings_can_be_made_there(elsewhere, tmp_path):
    code = "from trainer.config.document import json_schema; print(len(json_schema()['properties']))"

    result = elsewhere.run("python", "-c", code, cwd=tmp_path)

    assert int(result.stdout) >= 9, result.stderr
