"""Write `docs/EVENTS.md` from the events themselves.

python -m daemon.journal.document
"""

import inspect
import logging
from dataclasses import fields
from pathlib import Path

from daemon.journal import events
from daemon.journal.events import FileEvent, JournalEvent
from daemon.ledger.event_stream import RecordedEvent

NAMES = (
    *("of_the_daemon", "of_files", "of_jobs", "of_the_gate", "of_versions", "of_the_worker"),
    *("of_backups", "of_followers"),
)
SECTIONS = [f"daemon.journal.events.{name}" for name in NAMES]
PAGE = Path("docs") / "EVENTS.md"
HEAD = """# Events

<!-- Made from daemon/journal/events/ by: python -m daemon.journal.document -->

What happens is recorded once, in the journal. Each event becomes a line of the log and a row of the table
`events` in `status/ledger.sqlite3`: `id`, `at`, `kind`, `job_id`, `message`, and its facts as JSON in `data`.
A fact that is null is left out of `data`. `level` is that of the log line. Some events also show an alert or
an error in the status.

Read them with `SELECT * FROM events` or `Client.events(after=N)`, or follow them from a process of your own.
`training follow json_lines` appends each event as a line of JSON to `logs/events.jsonl`, with the keys
LINE_KEYS. `ledger` tells a ledger
from one that replaced it. A follower of your own is a class with two methods, offered by an entry point:
`daemon/journal/followers.py` says how. No event is missed or repeated, no matter when the follower or the
daemon is killed.

| kind | what happened | facts | level |
|---|---|---|---|
"""


def event_types() -> list[type[JournalEvent]]:
    """Return every kind of event, in the order of a file's life."""
    found = [item for _, item in inspect.getmembers(events, inspect.isclass)]
    kinds = [
        item for item in found if issubclass(item, JournalEvent) and item not in (JournalEvent, FileEvent)
    ]
    return sorted(kinds, key=lambda item: (SECTIONS.index(item.__module__), inspect.getsourcelines(item)[1]))


def page() -> str:
    """Return the whole page."""
    return HEAD.replace("LINE_KEYS", _line_keys()) + "".join(f"{_row(item)}\n" for item in event_types())


def _line_keys() -> str:
    names = ["ledger", *(field.name for field in fields(RecordedEvent))]
    return ", ".join(f"`{name}`" for name in names)


def _row(item: type[JournalEvent]) -> str:
    hidden = {"job_id"} if issubclass(item, FileEvent) else {"job_id", "file"}
    own = [field.name for field in fields(item) if field.name not in hidden]
    what = " ".join((item.__doc__ or "").split())
    facts = ", ".join(f"`{name}`" for name in own)
    return f"| `{item.kind}` | {what} | {facts} | {logging.getLevelName(item.level).lower()} |"


if __name__ == "__main__":
    PAGE.write_text(page())
