"""What the events of jobs say."""

import pytest

from daemon.journal.events import TrainingStarted


@pytest.mark.parametrize(
    "first_step, message",
    [
        (0, "training a.jsonl: starts with 20 steps"),
        (19, "training a.jsonl: continues at step 20 of 20 steps"),
        (20, "a.jsonl has taken all of its 20 steps; its verdict follows"),
    ],
)
def test_a_start_says_where_the_file_stands(first_step, message):
    event = TrainingStarted(job_id="1", file="a.jsonl", first_step=first_step, total_steps=20)

    assert event.message == message
