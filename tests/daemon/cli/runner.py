"""Run a command in this process, in a working directory."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from typer import Typer
from typer.testing import CliRunner

from trainer.protocol.layout import Layout


def runner_of(app: Typer, *, is_exported: bool = True) -> Callable[..., Any]:
    """Return a function that runs `app` with arguments and what typer's runner takes.

    Args:
        is_exported: whether the folder is TRAINING_BASE_DIR of the shell, so that what is advised needs no
            --base-dir.
    """

    def run(layout: Layout, *arguments: str, **options: Any) -> Any:
        with patch("daemon.client.advice.SHELLS_BASE_DIR", str(layout.base) if is_exported else None):
            return CliRunner().invoke(app, [*arguments, "--base-dir", str(layout.base)], **options)

    return run
