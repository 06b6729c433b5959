"""Jobs by what their files are, so that a file is recognised under any name and in any folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from daemon.files.identity import Identity, is_there
from trainer.protocol.job import Job, Priority


@dataclass(eq=False, slots=True)
class Entry:
    """A file of the queue, and what is needed to choose it: there may be a hundred thousand of them."""

    job_id: str
    name: str
    priority: Priority
    rows: int
    identity: Identity
    folder: Path | None
    """None while the file has not been found."""
    start_number: int | None = None
    """Number in the order of starts; None while it waits, and until it is given to a worker."""
    job: Job | None = None
    """None until somebody needs it."""

    @classmethod
    def of(cls, job: Job, path: Path, identity: Identity, start_number: int | None = None) -> Self:
        """Return the entry of a job whose file is there."""
        return cls(job.id, job.name, job.priority, job.rows, identity, path.parent, start_number, job)

    @property
    def path(self) -> Path | None:
        """Where the file is; None while it has not been found."""
        return self.folder / self.name if self.folder else None

    def start_key(self) -> tuple[float, str]:
        return (math.inf if self.start_number is None else self.start_number, self.job_id)

    def is_in_place(self) -> bool:
        return self.path is not None and is_there(self.path, self.identity)


class Index:
    """Waiting jobs by what their files are. Hard links give several jobs one identity."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries: dict[Identity, tuple[Entry, ...]] = {entry.identity: (entry,) for entry in entries}
        self._by_id = {entry.job_id: entry for entry in entries}
        if len(self._entries) < len(entries):
            self._entries.clear()
            for entry in entries:
                self.add(entry)

    def find(self, job_id: str) -> Entry | None:
        return self._by_id.get(job_id)

    def add(self, entry: Entry) -> None:
        self._entries[entry.identity] = (*self._entries.get(entry.identity, ()), entry)
        self._by_id[entry.job_id] = entry

    def discard(self, entry: Entry) -> None:
        entries = self._entries.get(entry.identity, ())
        if entry not in entries:
            return
        self._by_id.pop(entry.job_id, None)
        if left := tuple(other for other in entries if other is not entry):
            self._entries[entry.identity] = left
        else:
            del self._entries[entry.identity]

    def take_lost(self, identity: Identity, name: str) -> Entry | None:
        """Remove and return a job that a file of this identity belongs to, and whose own place is empty."""
        lost = [entry for entry in self._entries.get(identity, ()) if not entry.is_in_place()]
        for entry in sorted(lost, key=lambda entry: entry.name != name):
            self.discard(entry)
            return entry
        return None
