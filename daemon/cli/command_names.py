"""Which command has which module, and which of them has a subcommand of a name; each is loaded when asked."""

from importlib import import_module
from typing import Any

from typer.main import get_command

MODULES = {
    "daemon": "daemon.cli.training_daemon",
    "controller": "daemon.cli.training_controller",
    "queue": "daemon.cli.training_queue",
    "health": "daemon.cli.training_health",
    "data": "daemon.cli.training_data",
    "models": "daemon.cli.training_models",
    "monitor": "daemon.cli.training_monitor",
}


def owners_of(name: str) -> list[str]:
    """Return the commands that have a subcommand of this name."""
    groups: dict[str, Any] = {owner: get_command(import_module(MODULES[owner]).app) for owner in MODULES}
    return [owner for owner, group in groups.items() if name in group.commands]
