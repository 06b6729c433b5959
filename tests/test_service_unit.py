"""The unit of the whole machine: systemd accepts it, and its numbers fit those of the daemon."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trainer.config.schema import DaemonSettings

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "daemon" / "client" / "training-daemon.service"
MINUTE_S = 60


def installed() -> str:
    """Return the unit as the quickstart's command for the whole machine makes it."""
    [command] = re.findall(
        r"^(sed .*training-daemon\.service) [>|] ", (ROOT / "docs/QUICKSTART.md").read_text(), re.M
    )
    made = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_accepts_the_unit_as_it_is_installed(tmp_path):
    program = tmp_path / "training_daemon"
    program.touch(0o755)
    unit = tmp_path / "training-daemon.service"
    unit.write_text(re.sub(r"^ExecStart=.*", f"ExecStart={program}", installed(), flags=re.M))

    result = subprocess.run(
        ["systemd-analyze", "verify", "--system", str(unit)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_the_unit_starts_the_command_of_this_clone():
    assert f"ExecStart={ROOT}/.venv/bin/training_daemon\n" in installed()


def test_a_stop_leaves_the_worker_the_time_it_is_promised():
    minutes = int(re.search(r"^TimeoutStopSec=(\d+)min$", UNIT.read_text(), re.M)[1])

    assert minutes * MINUTE_S > DaemonSettings().stop_grace_s


def test_a_wrong_configuration_is_not_started_again():
    assert "RestartPreventExitStatus=78\n" in UNIT.read_text()  # the exit code that the command's tests pin
