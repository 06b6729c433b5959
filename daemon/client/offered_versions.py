"""The names of versions, and of their files, that a shell offers to complete. Quick: loads nothing else."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from daemon.client.offered_names import PLAIN_NAME
from trainer.protocol.layout import Layout

FOLDER, TRASH, JOURNAL = "versions", ".trash", "journal.jsonl"
RECORD = "VERSION.json"
ID = re.compile(r"v\d{3,}")
COMPUTED = ("current", "latest")
MOST_RECORDS = 200  # of the newest versions, for the names of files


def version_names(layout: Layout, typed: str) -> list[str]:
    """Return how versions can be named, as far as that begins with what was typed: ids, then names."""
    ids = _ids(layout.models / FOLDER)
    computed = COMPUTED if ids else ()
    return _beginning([*ids[::-1], *sorted(_aliases(layout)), *computed], typed)


def deleted_names(layout: Layout, typed: str) -> list[str]:
    """Return the ids of the versions in the trash, likewise."""
    return _beginning(_ids(layout.models / FOLDER / TRASH), typed)


def alias_names(layout: Layout, typed: str) -> list[str]:
    """Return the aliases that people have given, likewise."""
    return _beginning(sorted(_aliases(layout)), typed)


def trained_names(layout: Layout, typed: str) -> list[str]:
    """Return the names of the files that made the newest versions, likewise, those of the newest first."""
    folder = layout.models / FOLDER
    records = [folder / version / RECORD for version in _ids(folder)[: -MOST_RECORDS - 1 : -1]]
    return _beginning(dict.fromkeys(name for record in records for name in _files_of(record)), typed)


def checkpoint_names(layout: Layout, typed: str) -> list[str]:
    """Return the names of checkpoints, and `current`, likewise."""
    found = [name for name in _listed(layout.models / "checkpoints") if re.fullmatch(r"step-[\d-]+", name)]
    return _beginning([*sorted(found, reverse=True), *["current"] * bool(found)], typed)


def _beginning(names: Iterable[str], typed: str) -> list[str]:
    return [name for name in names if name.startswith(typed) and PLAIN_NAME.fullmatch(name)]


def _ids(folder: Path) -> list[str]:
    return sorted((name for name in _listed(folder) if ID.fullmatch(name)), key=lambda name: int(name[1:]))


def _listed(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _aliases(layout: Layout) -> dict[str, str]:
    aliases: dict[str, str] = {}
    with suppress(OSError):
        for line in _content(layout.models / FOLDER / JOURNAL).split(b"\n")[:-1]:
            with suppress(ValueError, KeyError, TypeError):
                mark = json.loads(line)
                if mark["kind"] == "alias":
                    aliases[mark["text"]] = mark["version"]
                elif mark["kind"] == "unalias":
                    aliases.pop(mark["text"], None)
    return aliases


def _files_of(record: Path) -> Iterator[str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        for file in json.loads(_content(record))["trained"][::-1]:
            yield str(file["name"])


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""  # a pipe would keep the shell waiting for ever
