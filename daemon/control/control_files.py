"""Control files: what a person or a program asks of the daemon. Reads and removes them, decides nothing."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

Name = Literal["pause", "resume", "skip", "stop", "stop_now", "go_back", "consolidate", "forget"]
FILES: dict[str, Name] = {
    ".resume": "resume",
    ".pause": "pause",
    ".skip": "skip",
    ".stop": "stop",
    ".go_back": "go_back",
    ".consolidate": "consolidate",
    ".forget": "forget",
}
FOR_PEOPLE = (".pause", ".resume", ".skip", ".stop")  # those that a person makes with touch
OBEYED = ".obeyed."  # in the new name of a request that is a folder
MAX_REQUEST_BYTES = 65_536  # names of many files may be among it


@dataclass(frozen=True, kw_only=True)
class Request:
    """One control file."""

    name: Name
    path: Path
    written_at: float
    """Unix seconds."""
    id: str | None = None
    """Given by the sender to recognise the answer; None for a plain `touch`."""
    reason: str | None = None
    target: str | None = None
    """What the model is to go back to, relative to `models/`; or the file that it is to forget."""
    requeue: bool = False
    """Whether the files that are undone are trained again."""
    without: tuple[str, ...] = ()
    """Names or job ids of those that are not."""
    keep_versions: bool = False
    """Versions that have seen the file to be forgotten stay."""
    is_emergency: bool = False
    """It is the file `.stop` in the working directory itself."""

    @property
    def is_lasting(self) -> bool:
        """Whether it is obeyed by a daemon that was started later."""
        return self.name in ("pause", "resume") or self.is_emergency


def read_requests(layout: Layout) -> list[Request]:
    """Return the requests that lie there, oldest first; of equally old ones a pause comes after a resume."""
    found = []
    for file_name, name in FILES.items():
        if request := _read(layout.control / file_name, name):
            found.append(request)
    if emergency := _read(layout.emergency_stop, "stop_now"):
        found.append(replace(emergency, is_emergency=True))
    return sorted(found, key=lambda request: request.written_at)


def unknown_names(layout: Layout) -> list[str]:
    """Return the names in `control/` that are no request, such as `.stpo`; sorted."""
    with suppress(OSError):
        return sorted(name for name in os.listdir(layout.control) if name not in FILES and not _is_ours(name))
    return []


def _is_ours(name: str) -> bool:
    """Whether it is the folder's mark, a request that is being written, or one that was obeyed."""
    return name == ".gitkeep" or name.endswith(".tmp") or OBEYED in name


def remove_request(request: Request) -> None:
    """Take a control file away.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        request.path.unlink(missing_ok=True)
    except IsADirectoryError:
        # It may hold something of a person's, which is never deleted
        request.path.rename(request.path.with_name(f"{request.path.name}{OBEYED}{time.time_ns()}"))


def _read(path: Path, name: Name) -> Request | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    content = _content(path)
    if name == "stop" and content.get("now") is True:
        name = "stop_now"
    return Request(
        name=name,
        path=path,
        written_at=found.st_mtime,
        id=_text(content.get("id")),
        reason=_text(content.get("reason")),
        target=_text(content.get("target")),
        requeue=content.get("requeue") is True,
        without=_texts(content.get("without")),
        keep_versions=content.get("keep_versions") is True,
    )


def _content(path: Path) -> dict[str, object]:
    """Return the JSON object in a control file.

    The name alone is a valid request, so anything else is empty.
    """
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_REQUEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(value: object) -> str | None:
    return printable(value, limit=200) if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
