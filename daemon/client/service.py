"""Install the daemon as a service of one user: a unit for systemd with the paths of this environment."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from daemon.client.errors import CannotInstall
from daemon.status.reader import read_status
from trainer.protocol.files import write_atomically
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

TEMPLATE = Path(__file__).with_name("training-daemon.service")
MONITOR_TEMPLATE = Path(__file__).with_name("training-monitor.service")
SYSTEMCTL = "systemctl"
PATIENCE_S = 600  # systemd waits for the daemon to be ready; the unit says for how long
FOR_THE_SYSTEM = re.compile(r"^# For the system only.*?\n\n", re.M | re.S)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A service that was installed."""

    unit: str
    """Its file; printable."""
    base_dir: str
    """The working directory; printable."""
    is_enabled: bool
    """Whether systemd has started it, and will whenever this user's services start."""
    problem: str | None
    """Why it has not; printable."""
    to_do: list[str]
    """Commands that are left to a person; printable."""


def unit_file(home: Path, name: str) -> Path:
    """Return where the unit of a user's service belongs.

    Raises:
        CannotInstall: systemd would not accept the name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise CannotInstall(
            f"the service's name is {printable(name, limit=120)!r}; expected letters, digits, dots and dashes"
        )
    return home / ".config" / "systemd" / "user" / f"{name}.service"


def unit_text(layout: Layout) -> str:
    """Return the unit: the template, for one user, with absolute paths.

    Raises:
        CannotInstall: a path cannot be written into a unit.
    """
    return _unit_text(layout, TEMPLATE, ["daemon.cli.training_daemon"])


def monitor_unit_text(layout: Layout) -> str:
    """Return the unit of the web page, likewise."""
    return _unit_text(layout, MONITOR_TEMPLATE, ["daemon.cli.training_monitor", "--quiet"])


def _unit_text(layout: Layout, template: Path, module: list[str]) -> str:
    text = FOR_THE_SYSTEM.sub("", template.read_text(encoding="utf-8"))
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("# The training daemon as", "# The web page of", "# Every path"))
    ]
    # By the interpreter: a wheel may have been installed where scripts are elsewhere
    command = [sys.executable, "-P", "-m", *module]
    replacements = {
        "Environment=TRAINING_BASE_DIR": f"Environment={_quoted(f'TRAINING_BASE_DIR={layout.base}')}",
        "ExecStart": f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in command)}",
        "WantedBy": "WantedBy=default.target",
    }
    for number, line in enumerate(lines):
        for key, replacement in replacements.items():
            if line.startswith(f"{key}="):
                lines[number] = replacement
    return "\n".join(["# Written by: training_daemon install-service", *lines]).strip() + "\n"


def install(layout: Layout, unit: Path, text: str) -> Installed:
    """Write the unit, and have systemd start it now and with this user's services.

    Raises:
        CannotInstall: a daemon runs here outside of the service, or the unit cannot be written.
    """
    refuse_running(layout)
    try:
        unit.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(unit, text.encode(), durable=False)
    except OSError as error:
        raise CannotInstall(
            f"{printable(str(unit))} cannot be written: {printable(str(error))}; expected a writable home"
        ) from error
    commands = [
        [SYSTEMCTL, "--user", "daemon-reload"],
        [SYSTEMCTL, "--user", "enable", unit.stem],
        [SYSTEMCTL, "--user", "restart", unit.stem],  # not `start`: the unit may be another than before
    ]
    problem = _run_all(commands)
    left = [" ".join(command) for command in commands] if problem else []
    return Installed(
        unit=printable(str(unit)),
        base_dir=printable(str(layout.base)),
        is_enabled=problem is None,
        problem=problem,
        to_do=[*left, "loginctl enable-linger"],
    )


def refuse_running(layout: Layout) -> None:
    """Refuse if a daemon runs that systemd has not started: the service would fail again and again.

    Raises:
        CannotInstall: one does.
    """
    from daemon.client.starting import is_service

    found = read_status(layout)
    if found.is_running and not is_service(layout):
        raise CannotInstall(
            f"the daemon is {found.life_text()} in {printable(str(layout.base))}, and not as a service; "
            "stop it first: training_controller stop --now"
        )


def _run_all(commands: list[list[str]]) -> str | None:
    """Run commands until one fails; return why it did."""
    if not shutil.which(SYSTEMCTL):
        return f"{SYSTEMCTL} is not installed"
    for command in commands:
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} has not ended within {PATIENCE_S} s"
        if result.returncode:
            said = result.stderr.strip() or f"exit code {result.returncode}"
            return f"{' '.join(command)}: {printable(' '.join(said.split()), limit=300)}"
    return None


def _quoted(text: str) -> str:
    """Return a word as a unit has it: systemd.service(5)."""
    if not text.isprintable():
        raise CannotInstall(
            f"{printable(text)} has characters that a unit cannot have; choose another folder"
        )
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[^\w@%+=:,./-]", text) else text
