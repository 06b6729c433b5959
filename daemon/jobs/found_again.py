"""Which files wait where an earlier daemon left them. Quick, as a hundred thousand may; changes nothing."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from daemon.files.identity import Identity
from daemon.jobs.queue_index import Entry
from daemon.ledger.open_files import OpenFile
from trainer.protocol.layout import Layout
from trainer.protocol.places import Priority


@dataclass(frozen=True)
class FoundAgain:
    """The open jobs of an earlier daemon."""

    waiting: dict[Priority, dict[str, Entry]]
    """By name, those whose files lie in place and unchanged."""
    lost: list[Entry] = field(default_factory=list)
    """Their files lie elsewhere, or nowhere, or were started."""
    starts: dict[str, int | None] = field(default_factory=dict)
    """The numbers of their starts, of those that were started."""


def found_again(
    files: Iterable[OpenFile], present: Mapping[Priority, Mapping[str, Identity]], layout: Layout
) -> FoundAgain:
    """Tell apart what the ledger knows by what lies in the folders.

    Args:
        files: of the open jobs, in order of arrival.
        present: what lies in the folders of waiting files, by name.
    """
    found = FoundAgain({priority: {} for priority in Priority})
    places = {
        str(priority): (priority, layout.waiting(priority), present[priority], found.waiting[priority])
        for priority in Priority
    }
    for job_id, name, its_priority, is_waiting, rows, identity, start_number in files:
        priority, folder, identities, waiting = places[its_priority]
        if is_waiting and identities.get(name) == identity and name not in waiting:
            waiting[name] = Entry(job_id, name, priority, rows, identity, folder)
            continue
        if not is_waiting:
            found.starts[job_id] = start_number
        found.lost.append(Entry(job_id, name, priority, rows, identity, None))
    return found


@contextmanager
def garbage_left_alone() -> Iterator[None]:
    """Collect nothing inside, nor ever among what is there at the end: very many objects that all stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
