"""The command `training_models`: versions of the model, what made them, and what differs between them."""

import typer

from daemon.cli import (
    models_backup,
    models_compare,
    models_consolidate,
    models_disk,
    models_forget,
    models_gates,
    models_report,
    models_rollback,
    models_versions,
)
from daemon.cli.options import BaseDir, Version, run, use_base_dir

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
for part in (
    *(models_versions, models_compare, models_report, models_gates),
    *(models_rollback, models_forget, models_consolidate, models_disk),
):
    app.add_typer(part.app)
app.add_typer(models_backup.app, name="backup")


@app.callback()
def _training_models(base_dir: BaseDir = None, version: Version = False) -> None:
    """Keep versions of the model, compare them, and go back."""
    use_base_dir(base_dir)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
