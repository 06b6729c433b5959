"""What subcommands of `training_data` share: opened files, a progress bar, a note on what was left out."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import CommandFailed, client_of, say
from daemon.client.data import refuse_missing_folder
from daemon.client.errors import raising
from daemon.data_tools.reading import BadInput, DataFile, LeftOut
from daemon.data_tools.writing import BadOutput

PROGRESS_BYTES = 1 << 20  # between two movements of the bar; drawing it must not cost more than reading

In = Annotated[Path, typer.Argument(metavar="FILE", help="It is never changed.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new file; its name ends in .jsonl.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**63 - 1, help="A different number selects different rows."
    ),
]


@contextmanager
def open_files(
    paths: Sequence[Path], base_dir: Path | None, *, as_json: bool, passes: int = 1
) -> Iterator[list[DataFile]]:
    """Yield files to be read, with a bar that shows how far they are read.

    Args:
        passes: how often each is read.
    Raises:
        CommandFailed: also for what a tool finds to be wrong inside the block.
    """
    client = client_of(base_dir)
    refuse_missing_folder(client.any_layout)
    settings = client.settings.effective().settings.data
    with raising(CommandFailed, BadInput, BadOutput):
        total = passes * sum(DataFile(path, settings).size_bytes for path in paths)
        with byte_progress(total, is_shown=sys.stderr.isatty() and not as_json) as advance:
            yield [DataFile(path, settings, advance=advance) for path in paths]


@contextmanager
def byte_progress(total: int, *, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes how many bytes were read, and moves a bar."""
    if not is_shown:
        yield lambda num_bytes: None
        return
    from rich.console import Console
    from rich.progress import Progress

    pending = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total)

        def advance(num_bytes: int) -> None:
            nonlocal pending
            pending += num_bytes
            if pending >= PROGRESS_BYTES:
                progress.advance(task, pending)
                pending = 0

        yield advance


def show_result(facts: dict[str, object], lines: Sequence[str], left_out: LeftOut, *, as_json: bool) -> None:
    """Say what was done, and which rows were left out."""
    if as_json:
        print(json.dumps({**facts, "left_out": left_out.count, "first_left_out": left_out.first}))
        return
    for line in lines:
        say(line)
    for place in left_out.first:
        say(f"left out {place}")
    if left_out.count > len(left_out.first):
        say(f"… and {left_out.count - len(left_out.first):,} more rows were left out")


def refuse_empty(num_rows: int, left_out: LeftOut) -> None:
    """Refuse to write a file without rows.

    Raises:
        CommandFailed: there are none.
    """
    if not num_rows:
        reason = f"; {left_out.first[0]}" if left_out.first else "; expected at least one"
        raise CommandFailed(f"there are no rows to write{reason}; nothing was written")
