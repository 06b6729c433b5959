"""Which events are sent, and how several become one. Pure: time and what was sent come in as arguments."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from daemon.ledger.event_stream import RecordedEvent
from trainer.protocol.notifiable import Notifiable

SCHEMA_VERSION = 1
MAX_AGE_S = 24 * 3600.0
WINDOW_S = 60.0
NUM_FILES = 20
KEYS_KEPT = 200
KINDS: Mapping[str, Notifiable] = {
    "failed": "failed",
    "blocked": "blocked",
    "worker_blocked": "blocked",
    "worker_crashed": "crashed",
    "worker_not_finite": "crashed",
    "worker_recovered": "recovered",
    "unblocked": "recovered",
    "queue_empty": "queue_empty",
}


class Notification(TypedDict):
    """What `notify.command` reads from its standard input, and `notify.webhook` is sent."""

    schema_version: int
    id: str
    """Different for each notification, and the same if one is sent again."""
    event: Notifiable
    at: str
    """When it happened: UTC, ISO 8601."""
    message: str
    """For a person; printable."""
    file: str | None
    """The file that it is about; printable."""
    job_id: str | None
    data: dict[str, Any]
    """The facts of the event, as docs/EVENTS.md lists them; those of the last one if there are several."""
    count: int
    """How many events of this kind it stands for; more than 1 if there were too many for one each."""
    files: list[str]
    """The files that these are about, at most 20 of them; printable."""
    host: str
    """Name of the machine."""
    base_dir: str
    """The working directory; printable."""


@dataclass
class Sent:
    """What was sent so far, as far as it decides what comes next."""

    at: list[float] = field(default_factory=list)
    """Unix seconds of those of the last minute."""
    keys: dict[str, float] = field(default_factory=dict)
    """What must not be repeated for a while -> when it was sent."""
    has_trouble: bool = False
    """A crash or a block was sent, and its end was not."""

    def free_at(self, now: float, max_per_minute: int) -> float:
        """Return when the next one may be sent, in Unix seconds."""
        self.at = [at for at in self.at if now - WINDOW_S < at <= now]
        return now if len(self.at) < max_per_minute else self.at[-max_per_minute] + WINDOW_S


def event_of(event: RecordedEvent) -> Notifiable | None:
    """Return what an event of the journal is sent as; None if it is not sent."""
    if event.kind == "finished":
        outcome = (event.data or {}).get("outcome")
        return outcome if outcome in ("completed", "failed") else None
    return KINDS.get(event.kind)


def notifications(
    events: Iterable[RecordedEvent],
    sent: Sent,
    *,
    wanted: Sequence[str],
    ledger: str,
    place: Mapping[str, str],
    now: float,
    repeat_after_s: float,
) -> list[Notification]:
    """Return what is to be sent of these events, and note it in `sent`.

    Args:
        wanted: the events to tell.
        ledger: its identity.
        place: host and base_dir.
    """
    found = []
    for event in events:
        kind = event_of(event)
        if kind not in wanted or kind is None or now - _unix(event.at) > MAX_AGE_S:
            continue
        if not _is_news(kind, event, sent, now, repeat_after_s):
            continue
        data = event.data or {}
        file = data.get("file")
        found.append(
            Notification(
                schema_version=SCHEMA_VERSION,
                id=f"{ledger}-{event.id}",
                event=kind,
                at=event.at,
                message=event.message,
                file=file,
                job_id=event.job_id,
                data=data,
                count=1,
                files=[file] if file else [],
                host=place["host"],
                base_dir=place["base_dir"],
            )
        )
    return found


def _is_news(kind: Notifiable, event: RecordedEvent, sent: Sent, now: float, repeat_after_s: float) -> bool:
    """Whether it is not the same crash or block again, nor the end of one that was not sent."""
    if kind == "recovered":
        had_trouble, sent.has_trouble = sent.has_trouble, False
        return had_trouble
    if kind not in ("blocked", "crashed"):
        return True
    # The same with another number, of a process or of bytes, is the same
    key = f"{kind}: {re.sub(r'[0-9]+', '#', event.message)}"
    if now - sent.keys.get(key, float("-inf")) < repeat_after_s:
        return False
    sent.keys.pop(key, None)
    sent.keys[key] = now
    while len(sent.keys) > KEYS_KEPT:
        del sent.keys[next(iter(sent.keys))]
    sent.has_trouble = True
    return True


def merged(several: Sequence[Notification]) -> list[Notification]:
    """Return one notification for each kind of event, in the order of their last ones."""
    by_event: dict[str, list[Notification]] = {}
    for one in several:
        same = by_event.pop(one["event"], [])
        by_event[one["event"]] = [*same, one]
    return [_merge(same) for same in by_event.values()]


def _merge(same: Sequence[Notification]) -> Notification:
    last, count = same[-1], sum(one["count"] for one in same)
    if count == 1:
        return last
    files = [file for one in same for file in one["files"]]
    message = f"{last['message']}; and {count - 1:,} more of this kind before"
    return {**last, "count": count, "files": files[-NUM_FILES:], "message": message}


def age_s(notification: Notification, now: float) -> float:
    """Return how long ago it happened."""
    return now - _unix(notification["at"])


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
