"""Jobs by what their files are, so that a file is recognised under any name and in any folder."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.files.identity import Identity, is_there
from trainer.protocol.job import Job


@dataclass(eq=False)
class Entry:
    job: Job
    path: Path | None
    """None while the file has not been found."""
    identity: Identity
    start_number: int | None = None
    """Number in the order of starts; None while it waits, and until it is given to a worker."""

    def start_key(self) -> tuple[float, str]:
        return (math.inf if self.start_number is None else self.start_number, self.job.id)

    def is_in_place(self) -> bool:
        return self.path is not None and is_there(self.path, self.identity)


class Index:
    """Waiting jobs by what their files are. Hard links give several jobs one identity."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[Identity, list[Entry]] = {}
        self._by_id: dict[str, Entry] = {}
        for entry in entries:
            self.add(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._by_id.values()))

    def find(self, job_id: str) -> Entry | None:
        return self._by_id.get(job_id)

    def add(self, entry: Entry) -> None:
        self._entries.setdefault(entry.identity, []).append(entry)
        self._by_id[entry.job.id] = entry

    def discard(self, entry: Entry) -> None:
        entries = self._entries.get(entry.identity, [])
        if entry in entries:
            entries.remove(entry)
            self._by_id.pop(entry.job.id, None)
        if not entries:
            self._entries.pop(entry.identity, None)

    def take_lost(self, identity: Identity, name: str) -> Entry | None:
        """Remove and return a job that a file of this identity belongs to, and whose own place is empty."""
        lost = [entry for entry in self._entries.get(identity, []) if not entry.is_in_place()]
        for entry in sorted(lost, key=lambda entry: entry.job.name != name):
            self.discard(entry)
            return entry
        return None
