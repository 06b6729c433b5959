"""Arguments that several subcommands of `training_models` have, and what the shell offers for them."""

from typing import Annotated

import typer

from daemon.cli.options import completing
from daemon.client.offered_versions import trained_names, version_names


def offered_versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the versions that what is typed may mean."""
    return version_names(completing(ctx), incomplete)


def offered_files(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of trained files that what is typed may mean."""
    return trained_names(completing(ctx), incomplete)


VersionName = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="Its id, such as v003, an alias, latest, or current.",
        autocompletion=offered_versions,
    ),
]
