"""Scores and previews in the ledger: nothing doubled, nothing that counts no more, and what changed."""

import sqlite3

import pytest

from daemon.ledger.evaluation_records import read_previews
from daemon.ledger.evaluations import OVERALL, PREVIEWS_KEPT
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import read
from tests.support import FakeClock
from trainer.protocol.messages import PreviewMade, Score, SuiteScored


def preview(step, text, prompt="Who?", **fields):
    return PreviewMade(
        global_step=step, prompt=prompt, text=text, **({"ended_by": "end", "seconds": 0.5} | fields)
    )


def scored(step, exact_match):
    score = Score(rows=4, loss=1.5, exact_match=exact_match, metrics={"length": 3.0})
    return SuiteScored(global_step=step, suite="sums", overall=score, by_difficulty={"easy": score})


def test_what_is_measured_again_at_a_step_replaces_what_was_there(ledger, layout):
    for exact_match, text in ((0.25, "he"), (0.5, "she")):
        ledger.evaluations.add_scores(scored(7, exact_match))
        ledger.evaluations.add_preview(preview(7, text))
    ledger.commit()

    columns = "global_step, suite, difficulty, rows, loss, exact_match, metrics"
    assert read(layout, f"SELECT {columns} FROM suite_scores ORDER BY difficulty") == [
        (7, "sums", OVERALL, 4, 1.5, 0.5, '{"length": 3.0}'),
        (7, "sums", "easy", 4, 1.5, 0.5, '{"length": 3.0}'),
    ]
    assert read(layout, "SELECT global_step, prompt, text FROM previews") == [(7, "Who?", "she")]


def test_what_was_measured_after_the_checkpoint_is_forgotten(ledger, layout):
    for step in (7, 8):
        ledger.evaluations.add_scores(scored(step, 0.5))
        ledger.evaluations.add_preview(preview(step, "he"))

    ledger.rewind(7)
    ledger.commit()

    assert read(layout, "SELECT DISTINCT global_step FROM suite_scores") == [(7,)]
    assert read(layout, "SELECT DISTINCT global_step FROM previews") == [(7,)]


def test_only_so_many_previews_are_kept(ledger, layout):
    for step in range(PREVIEWS_KEPT + 3):
        ledger.evaluations.add_preview(preview(step, "he"))

    ledger.evaluations.thin()
    ledger.commit()

    assert read(layout, "SELECT min(global_step), count(*) FROM previews") == [(3, PREVIEWS_KEPT)]


@pytest.mark.parametrize(
    "texts, since, before, before_step",
    [
        (["a"], 1, None, None),
        (["a", "a", "a"], 1, None, None),
        (["a", "b"], 2, "a", 1),
        (["c", "a", "b", "b"], 3, "a", 2),
        (["b", "a", "b"], 3, "a", 2),
    ],
)
def test_the_history_of_a_prompt_says_since_when_its_answer_is_what_it_is(
    ledger, layout, texts, since, before, before_step
):
    for step, text in enumerate(texts, 1):
        ledger.evaluations.add_preview(preview(step, text, metrics={"exact_match": 1.0}))
    ledger.commit()

    [history] = read_previews(layout.ledger_file)

    assert (history.text, history.global_step) == (texts[-1], len(texts))
    assert (history.unchanged_since, history.before, history.before_step) == (since, before, before_step)
    assert history.metrics == {"exact_match": 1.0}


def test_the_prompt_answered_last_comes_first(ledger, layout):
    for step, prompt in ((1, "gone"), (2, "b"), (2, "a")):
        ledger.evaluations.add_preview(preview(step, "x", prompt))
    ledger.commit()

    assert [history.prompt for history in read_previews(layout.ledger_file)] == ["a", "b", "gone"]


def test_half_a_character_can_be_stored(ledger, layout):
    ledger.evaluations.add_preview(preview(1, "x", "half \ud83d"))
    ledger.commit()

    assert read_previews(layout.ledger_file)[0].prompt == "half \\ud83d"


def test_there_are_no_previews_without_a_ledger_or_in_one_of_an_earlier_release(layout):
    missing = read_previews(layout.ledger_file)
    Ledger(layout.ledger_file, clock=FakeClock()).close()
    database = sqlite3.connect(layout.ledger_file)
    database.execute("DROP TABLE previews")
    database.commit()
    database.close()

    assert missing == read_previews(layout.ledger_file) == []
