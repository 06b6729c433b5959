"""A deep look at a file, beside what the working directory has: rows trained before, and held-out files."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.deep import deep_findings
from trainer.data.leakage import held_out_rows
from trainer.data.row_table import RowTable
from trainer.data.seen_rows import FILE_NAME, SeenRows, UnusableSeenRows
from trainer.data.sketch import Numbered
from trainer.protocol.deep import DeepFindings


def look_deeply(
    numbered: Iterable[Numbered],
    settings: Settings,
    *,
    base_dir: Path,
    models: Path,
    tick: Callable[[], object] = lambda: None,
) -> DeepFindings:
    """Return what is found in a file's rows by `data.validation: deep`.

    Args:
        numbered: the rows, with their lines.
        tick: called every few rows; what it raises ends the look.
    Raises:
        BadConfig: a held-out file cannot be read.
    """
    with ExitStack() as stack:
        held_out = stack.enter_context(closing(_held_out(settings, base_dir)))
        seen, problem = None, None
        try:
            if seen := SeenRows.open_for_reading(models / FILE_NAME):
                stack.enter_context(seen)
        except UnusableSeenRows as error:
            problem = f"{error}; until the next file is completed, rows trained before are not recognised"
        patterns = settings.data.private_patterns
        found = deep_findings(numbered, seen=seen, held_out=held_out, patterns=patterns, tick=tick)
    messages = (problem, *found.messages) if problem else found.messages
    return found.model_copy(update={"messages": messages})


def _held_out(settings: Settings, base_dir: Path) -> RowTable:
    files = {"validation.file": base_dir / file} if (file := settings.validation.file) else {}
    try:
        return held_out_rows(files, max_line_bytes=settings.data.max_line_bytes)
    except OSError as error:
        raise BadConfig(f"{error.filename}: {error.strerror}; expected a readable JSONL file") from error
