"""What is said of a file that cannot be forgotten, because the model has never seen it."""

import pytest

from daemon.client import Client
from daemon.client.forget import NotForgotten
from daemon.ledger.ledger import Ledger
from tests.support import FakeClock, rows, write_jsonl


@pytest.mark.parametrize(
    "place, expected",
    [
        (
            "queue/failed/my bad.jsonl",
            "the model has never seen queue/failed/my bad.jsonl, which was refused before it was accepted "
            "(training_queue show 'failed/my bad.jsonl' says why); to erase it, delete it and its notes; "
            "training_queue clear --failed only moves it away, to queue/.trash/",
        ),
        ("queue/skipped/my bad.jsonl", "skipped before it was accepted (training_queue show 'skipped/my"),
        ("queue/low/my bad.jsonl", "to take it out of the queue: training_queue remove 'low/my bad.jsonl'"),
        ("queue/.trash/failed-1/my bad.jsonl", "cleared away without being accepted; to erase it, delete it"),
        ("inbox/high/my bad.jsonl", "inbox/high/my bad.jsonl has not been accepted yet, because no daemon"),
        ("elsewhere/my bad.jsonl", "no file is known as my bad.jsonl; expected its name"),
    ],
)
def test_a_file_that_was_never_accepted_is_said_to_be_none_that_the_model_has_seen(layout, place, expected):
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    (layout.base / place).parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(layout.base / place, rows(1))

    with pytest.raises(NotForgotten) as refused:
        Client(layout.base).forgetting.plan("my bad.jsonl")

    assert expected in str(refused.value)
