"""Make a folder a working directory before a daemon has run there, with a sample to train if asked."""

import json
from dataclasses import dataclass

from daemon.client.errors import CannotCreate
from trainer.protocol.files import rename_durably
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

SAMPLE_NAME = "sample.jsonl"


@dataclass(frozen=True, kw_only=True)
class Created:
    """A working directory that is ready for a daemon."""

    base_dir: str
    """Printable."""
    is_new: bool
    """False if it was one already; then its `config.json` was left as it is."""
    sample: str | None
    """The file that now lies in the inbox, printable; None if none was asked for."""
    sample_rows: int | None
    """None without a sample."""


def create(layout: Layout, *, sample: bool = False) -> Created:
    """Make a folder a working directory; what is there stays as it is.

    Args:
        sample: put a file into the inbox that the model tiny learns in a minute.
    Raises:
        CannotCreate: the folder cannot be written, has folders of these names that belong to something else,
            or lies among the data of another working directory.
    """
    from daemon.settings.starter import write_starter  # a daemon in the foreground imports this module, too

    refuse_inside_another(layout)
    is_new = not layout.queue.is_dir()
    if is_new:
        _refuse_somebody_elses(layout)
    try:
        layout.create()
        write_starter(layout)
        name, num_rows = _add_sample(layout) if sample else (None, None)
    except OSError as error:
        raise CannotCreate(
            f"{printable(str(layout.base))} cannot become a working directory: {printable(str(error))}; "
            "expected a writable folder; choose another one"
        ) from error
    return Created(
        base_dir=printable(str(layout.base)),
        is_new=is_new,
        sample=name,
        sample_rows=num_rows,
    )


def refuse_inside_another(layout: Layout) -> None:
    """Let no working directory begin where another one keeps its data: its files would be that one's, too.

    Raises:
        CannotCreate: it would.
    """
    if layout.queue.is_dir():
        return
    inside = layout.base.resolve()
    for base in inside.parents:
        outer = Layout(base)
        folder = base / inside.relative_to(base).parts[0]
        if folder in outer.folders() and outer.inbox.is_dir() and outer.queue.is_dir():
            raise CannotCreate(
                f"{printable(str(layout.base))} is inside {folder.name}/ of the working directory "
                f"{printable(str(base))}; expected a folder of its own; choose another one"
            )


def _refuse_somebody_elses(layout: Layout) -> None:
    """Its folders are closed to other users, so none may be closed that is not ours."""
    taken = [path.name for path in layout.folders() if path.parent == layout.base and path.exists()]
    if taken:
        names = ", ".join(f"{name}/" for name in taken)
        raise CannotCreate(
            f"{printable(str(layout.base))} has {names} but no queue/, so it seems to belong to something "
            "else; give a new folder, or create queue/ there if it is meant"
        )


def _add_sample(layout: Layout) -> tuple[str, int]:
    """Return its name and how many rows it has."""
    from daemon.client.sample import NUM_ROWS, sample_rows

    partial = layout.inbox / f".{SAMPLE_NAME}.part"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample_rows())
    partial.write_text(text, encoding="utf-8")
    return rename_durably(partial, layout.inbox, SAMPLE_NAME).name, NUM_ROWS
