"""Scores and previews in the ledger: nothing doubled, nothing that counts no more, and what changed."""

import sqlite3

import pytest

from daemon.ledger.answer_records import read_prompts, read_questions
from daemon.ledger.evaluation_records import read_previews
from daemon.ledger.evaluations import OVERALL, PREVIEWS_KEPT
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import read
from tests.support import FakeClock
from trainer.protocol.messages import PreviewMade, Score, SuiteAnswer, SuiteScored


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


def answered(step, text, *, is_right, prompt="2 + 3?"):
    answer = SuiteAnswer(prompt=prompt, expected="5", text=text, is_right=is_right, difficulty="easy")
    return scored(step, float(is_right)).model_copy(update={"answers": (answer,)})


def test_an_answer_that_stays_the_same_is_one_stretch(ledger, layout):
    for step, text in ((10, "4"), (20, "5"), (30, "5"), (40, "6")):
        ledger.evaluations.add_scores(answered(step, text, is_right=text == "5"))
    ledger.evaluations.add_scores(answered(10, "1", is_right=False, prompt="Another?"))
    ledger.commit()

    first, other = read_questions(layout.ledger_file, suite="sums", limit=9)

    assert (first.suite, first.prompt, first.expected, first.difficulty) == ("sums", "2 + 3?", "5", "easy")
    assert [(found.first_step, found.last_step, found.text, found.is_right) for found in first.answers] == [
        (10, 10, "4", False),
        (20, 30, "5", True),
        (40, 40, "6", False),
    ]
    assert read_questions(layout.ledger_file, after=first.id, limit=9) == [other]
    assert read_questions(layout.ledger_file, suite="words", limit=9) == []


def test_answers_after_a_step_that_counts_no_more_go_with_it(ledger, layout):
    for step in (7, 8):
        ledger.evaluations.add_scores(answered(step, str(step), is_right=False))

    ledger.rewind(7)
    ledger.commit()

    [question] = read_questions(layout.ledger_file, limit=9)
    assert [found.text for found in question.answers] == ["7"]


def test_of_each_prompt_the_newest_answers_are_read_oldest_first(ledger, layout):
    for step in (1, 2, 3):
        ledger.evaluations.add_preview(preview(step, f"at {step}"))
    ledger.commit()

    [prompt] = read_prompts(layout.ledger_file, most_answers=2)

    assert [(found.global_step, found.text) for found in prompt.answers] == [(2, "at 2"), (3, "at 3")]
