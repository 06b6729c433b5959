"""What a tracker's process keeps on disk: how far it has come, and the rows that are not safe yet.

Rows are written here before they are sent, and crossed out once they are safe, so a kill loses none. What is
left at a start may have been sent, and the tracker says what of it is missing.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon.tracking.place import Place, Seen
from daemon.tracking.rows import Row
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.text import printable


class UnreadableOutbox(RuntimeError):
    """The file is none of ours, so what was sent is not known."""


@dataclass
class Outbox:
    """What the file says."""

    place: Place = field(default_factory=Place)
    rows: list[Row] = field(default_factory=list)
    """Read, and not known to be safe."""
    pid: int | None = None
    """The process that used it last."""
    problem: str | None = None
    """Why rows do not arrive; None if they do."""


def read_outbox(file: Path) -> Outbox:
    """Return what the file says; an empty outbox if there is none.

    Raises:
        UnreadableOutbox: it cannot be used.
    """
    try:
        value: dict[str, Any] = read_json(file)
        place = value["place"]
        for table in ("validations", "suite_scores", "previews"):
            place[table] = Seen(step=place[table]["step"], keys=tuple(place[table]["keys"]))
        return Outbox(
            place=Place(**place),
            rows=[Row(**row) for row in value["rows"]],
            pid=value["pid"],
            problem=value["problem"],
        )
    except FileNotFoundError:
        return Outbox()
    except (OSError, UnreadableFile, KeyError, TypeError) as error:
        raise UnreadableOutbox(
            f"{file} cannot be used: {printable(str(error))}; expected what this tracker wrote; move it "
            "away to have everything sent again, as a new run"
        ) from error


def write_outbox(file: Path, outbox: Outbox, *, durable: bool) -> None:
    """Replace the file."""
    write_json(file, asdict(outbox), durable=durable)
