"""Print entries of the log, for people and for programs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.cli.options import say

if TYPE_CHECKING:
    from daemon.client.log_entries import LogEntry


def lines_of(entry: "LogEntry") -> Iterator[str]:
    """Yield an entry as the daemon's terminal shows it, whatever the form of the log."""
    job = f" job={entry.job_id}" if entry.job_id else ""
    start = f"{entry.at} {(entry.level or '').upper():7} " if entry.at else ""
    yield f"{start}{entry.message}{job}"
    yield from entry.traceback


def print_entries(entries: "Iterable[LogEntry]", *, as_json: bool) -> int:
    """Print each entry as it comes, with `as_json` as a document of its own; return how many there were."""
    count = 0
    for count, entry in enumerate(entries, start=1):  # noqa: B007  it is returned
        if as_json:
            print(json.dumps(asdict(entry)), flush=True)
        else:
            for line in lines_of(entry):
                say(line)
    return count
