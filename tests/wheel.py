"""A wheel of this code, and an environment elsewhere that has it installed. No network is needed."""

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = ("pyproject.toml", "README.md", "LICENSE", "trainer", "daemon")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel; what the wheel depends on comes from the environment of the tests."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        [found] = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment, and nothing of the tests' own."""
        return subprocess.run(
            [str(self.folder / "bin" / command), *arguments],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "80"},
            capture_output=True,
            text=True,
        )


def build_wheel(scratch: Path) -> Path:
    """Build the wheel from a copy of the code, because a build leaves files beside what it reads."""
    source = scratch / "source"
    source.mkdir()
    for name in NAMED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    pip(
        sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(scratch), str(source)
    )
    [wheel] = scratch.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installed:
    """Install the wheel, not editable, into a new environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    installed = Installed(folder)
    pip(sys.executable, "--python", str(installed.python), "install", "--no-deps", "--no-index", str(wheel))
    # Only the folder: a link in it to an editable installation is not followed
    (installed.packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return installed


def pip(python: str, *arguments: str) -> None:
    """Run pip; what it says is shown if it fails."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
