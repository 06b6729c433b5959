"""What the page says of the signature and of the document is so."""

import json
import re
import time
from pathlib import Path

import pytest

from daemon.cli.document import json_schema
from daemon.ledger.event_stream import read_events
from daemon.notify.delivery import webhook
from daemon.notify.notification import Sent, merged, notifications
from tests.json_schema import violations
from trainer.protocol.notifiable import NOTIFIABLE

PAGE = (Path(__file__).parents[3] / "docs" / "NOTIFICATIONS.md").read_text()


@pytest.fixture
def is_genuine():
    [block] = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    names = {}
    exec(block, names)
    return names["is_genuine"]


def test_the_lines_of_python_recognise_what_was_signed(server, is_genuine):
    webhook(server.address, b"secret", 10)("l-1", b"{}", time.time())

    [(headers, body)] = server.received
    headers = {name.lower(): value for name, value in headers.items()}
    assert is_genuine(headers, body, b"secret")
    assert not is_genuine(headers, body + b" ", b"secret")
    assert not is_genuine(headers, body, b"guessed")


def test_what_is_old_is_not_taken_for_new(server, is_genuine):
    webhook(server.address, b"secret", 10)("l-1", b"{}", time.time() - 301)

    [(headers, body)] = server.received
    assert not is_genuine({name.lower(): value for name, value in headers.items()}, body, b"secret")


def test_every_event_is_explained():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.M) == NOTIFIABLE


def test_a_notification_is_what_the_schema_says(ledger, layout):
    for number in range(3):
        ledger.add_event("finished", "done", "1", {"file": f"{number}.jsonl", "outcome": "completed"})
    ledger.add_event("queue_empty", "the queue is empty", None, {})
    ledger.commit()
    events = read_events(layout.ledger_file, after=0, limit=9)
    definitions = json_schema()["$defs"]

    found = notifications(
        events, Sent(), wanted=NOTIFIABLE, ledger="l", place={"host": "box", "base_dir": "/srv"},
        now=1_000_000_000.0, repeat_after_s=0.0,
    )  # fmt: skip

    assert [one["count"] for one in merged(found)] == [3, 1]
    for one in [*found, *merged(found)]:
        assert violations(json.loads(json.dumps(one)), definitions["a notification"], definitions) == []
