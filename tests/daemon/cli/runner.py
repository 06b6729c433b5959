"""Run a command in this process, in a working directory."""

from collections.abc import Callable
from typing import Any

from typer import Typer
from typer.testing import CliRunner

from trainer.protocol.layout import Layout


def runner_of(app: Typer) -> Callable[..., Any]:
    """Return a function that runs `app` with arguments and what typer's runner takes."""

    def run(layout: Layout, *arguments: str, **options: Any) -> Any:
        return CliRunner().invoke(app, [*arguments, "--base-dir", str(layout.base)], **options)

    return run
