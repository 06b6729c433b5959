"""The page Answers: scores, questions and previews over time, and what is to be set where there are none."""

import csv
import io

import pytest

from daemon.ledger.ledger import Ledger
from tests.support import FakeClock
from trainer.protocol.messages import PreviewMade, Score, SuiteAnswer, SuiteScored

EVIL = "<img src=x onerror=alert(1)>\n\N{RIGHT-TO-LEFT OVERRIDE}=1+1"


@pytest.fixture
def answered(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    for step, text in ((10, "4"), (20, "=5"), (30, "=5")):
        answer = SuiteAnswer(prompt=EVIL, expected="=5", text=text, is_right=text == "=5")
        score = Score(rows=1, loss=1.0, exact_match=float(answer.is_right))
        ledger.evaluations.add_scores(
            SuiteScored(global_step=step, suite="sums", overall=score, answers=(answer,))
        )
        ledger.evaluations.add_preview(
            PreviewMade(global_step=step, prompt=EVIL, text=f"at {step}", ended_by="end", seconds=0.5)
        )
    ledger.close()


def table(answer):
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_each_question_has_its_answers_over_time(ask, answered):
    [question] = ask.get("/api/answers/questions", params={"suite": "sums"}).json()

    assert (question["prompt"], question["expected"]) == (EVIL, "=5")
    assert [
        (found["first_step"], found["last_step"], found["is_right"]) for found in question["answers"]
    ] == [
        (10, 10, False),
        (20, 30, True),
    ]
    assert ask.get("/api/answers/questions", params={"after": question["id"]}).json() == []


def test_previews_and_scores_come_in_the_order_of_steps(ask, answered):
    [prompt] = ask.get("/api/answers/previews", params={"limit": 2}).json()
    scores = ask.get("/api/answers/suites", params={"after": 10}).json()

    assert [answer["text"] for answer in prompt["answers"]] == ["at 20", "at 30"]
    assert [(score["global_step"], score["exact_match"]) for score in scores] == [(20, 1.0), (30, 1.0)]


def test_tables_can_be_had_as_csv_without_formulas(ask, answered):
    as_csv = {"format": "csv"}
    first, second = table(ask.get("/api/answers/questions", params=as_csv))
    assert (first["question"], second["answer"], second["times"]) == (EVIL, "'=5", "2")
    assert len(table(ask.get("/api/answers/suites", params=as_csv))) == 3
    assert len(table(ask.get("/api/answers/previews", params=as_csv))) == 3


def test_what_the_settings_name_is_said(ask, layout):
    layout.config_file.write_text(
        '{"validation": {"suites": {"sums": "sums.jsonl"}}, "previews": {"prompts": ["Who?"]}}'
    )

    asked = ask.get("/api/answers/asked").json()

    assert (asked["suites"], asked["prompts"], asked["prompts_file"]) == (
        {"sums": "sums.jsonl"},
        ["Who?"],
        None,
    )


@pytest.mark.parametrize("part", ["suites", "questions", "previews"])
def test_without_a_ledger_there_are_no_answers(ask, part):
    assert ask.get(f"/api/answers/{part}").json() == []
