"""What the events of jobs say."""

import pytest

from daemon.journal.events import ModelWentBack, TrainingStarted


@pytest.mark.parametrize(
    "first_step, message",
    [
        (0, "training a.jsonl: starts with 20 steps"),
        (19, "training a.jsonl: continues at step 20 of 20"),
        (20, "a.jsonl has taken all of its 20 steps; its verdict follows"),
    ],
)
def test_a_start_says_where_the_file_stands(first_step, message):
    event = TrainingStarted(job_id="1", file="a.jsonl", first_step=first_step, total_steps=20)

    assert event.message == message


@pytest.mark.parametrize(
    "why, message",
    [
        (
            "forget",
            "the model has forgotten a.jsonl, b.jsonl: it is now as if it had been trained "
            "without that from step 3 on (bad)",
        ),
        ("rollback", "the model went from step 9 to step 3 (bad); undone: a.jsonl, a.jsonl, b.jsonl"),
    ],
)
def test_a_content_that_is_forgotten_has_each_of_its_names_once(why, message):
    event = ModelWentBack(
        branch=1, from_step=3, left_step=9, why=why, reason="bad", files=("a.jsonl", "a.jsonl", "b.jsonl")
    )

    assert event.message == message
