"""Open what a deep inspection compares a file with: rows trained before, and held-out files."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.data.checks.deep_inspection import DeepInspection
from trainer.data.checks.leakage import held_out_rows
from trainer.data.checks.row_table import RowTable
from trainer.data.checks.seen_rows import FILE_NAME, SeenRows
from trainer.protocol.layout import Layout


@contextmanager
def open_deep_inspection(settings: Settings, *, base_dir: Path) -> Iterator[DeepInspection | None]:
    """Open what a file's rows are compared with by `data.validation: deep`; None without it.

    Raises:
        BadConfig: a held-out file cannot be read.
    """
    if settings.data.validation != "deep":
        yield None
        return
    with ExitStack() as stack:
        held_out = stack.enter_context(closing(_held_out(settings, base_dir)))
        seen = stack.enter_context(SeenRows.open_for_reading(Layout(base_dir).models / FILE_NAME))
        inspection = DeepInspection(seen=seen, held_out=held_out, patterns=settings.data.private_patterns)
        yield stack.enter_context(closing(inspection))


def _held_out(settings: Settings, base_dir: Path) -> RowTable:
    validation = settings.validation
    files = {f"validation.suites.{name}": base_dir / file for name, file in validation.suites.items()}
    if validation.file:
        files["validation.file"] = base_dir / validation.file
    try:
        return held_out_rows(
            files,
            max_line_bytes=settings.data.max_line_bytes,
            max_unpacked_bytes=settings.data.max_unpacked_bytes,
            fields=settings.data.fields,
            scratch=base_dir,
        )
    except OSError as error:
        raise BadConfig(f"{error.filename}: {error.strerror}; expected a readable JSONL file") from error
