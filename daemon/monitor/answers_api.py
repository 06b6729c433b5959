"""The API of the page Answers: scores of suites, answers to their questions, and previews, all over time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.monitor.endpoints import Api, csv_response
from daemon.monitor.models_api import Format, Limit, as_table

if TYPE_CHECKING:
    from daemon.client.results import AskedOfModel, PromptHistory, QuestionHistory, RecordedScore

SCORE_COLUMNS = ("global_step", "suite", "difficulty", "rows", "loss", "exact_match")
QUESTION_COLUMNS = (
    *("suite", "difficulty", "question", "expected", "first_step", "last_step", "times", "right", "answer"),
)
PREVIEW_COLUMNS = ("prompt", "global_step", "answer", "ended_by", "seconds")
MOST_ROWS = 1_000_000  # of a table as CSV

api = Api()


@api.get("/api/answers/asked")
def what_is_asked(client: Client) -> "AskedOfModel":
    """Which suites and prompts the settings name."""
    return client.settings.asked_of_model()


@api.get("/api/answers/suites")
def suite_scores(
    client: Client, after: Annotated[int, Field(ge=0)] = 0, limit: Limit = 1000, format: Format = "json"
) -> "list[RecordedScore] | Response":
    """Scores of suites at the first steps after `after`, of all rows and by difficulty."""
    found = client.history.suite_scores(after=after, limit=limit if format == "json" else MOST_ROWS)
    return found if format == "json" else as_table(SCORE_COLUMNS, found, name="suites")


@api.get("/api/answers/questions")
def suite_questions(
    client: Client,
    suite: str | None = None,
    after: Annotated[int, Field(ge=0)] = 0,
    limit: Limit = 100,
    format: Format = "json",
) -> "list[QuestionHistory] | Response":
    """Questions of suites after the one numbered `after`, each with its answers over time."""
    if format == "json":
        return client.history.questions(suite=suite, after=after, limit=limit)
    found = client.history.questions(suite=suite, limit=MOST_ROWS)
    return csv_response(QUESTION_COLUMNS, _question_rows(found), name="answers")


@api.get("/api/answers/previews")
def preview_answers(
    client: Client, limit: Limit = 200, format: Format = "json"
) -> "list[PromptHistory] | Response":
    """Each fixed prompt with its newest `limit` answers, oldest first."""
    if format == "json":
        return client.history.prompts(most_answers=limit)
    rows = (
        (prompt.prompt, answer.global_step, answer.text, answer.ended_by, answer.seconds)
        for prompt in client.history.prompts(most_answers=MOST_ROWS)
        for answer in prompt.answers
    )
    return csv_response(PREVIEW_COLUMNS, rows, name="previews")


def _question_rows(found: "list[QuestionHistory]") -> Iterator[tuple[Any, ...]]:
    for question in found:
        facts = (question.suite, question.difficulty, question.prompt, question.expected)
        for answer in question.answers:
            yield (*facts, answer.first_step, answer.last_step, answer.times, answer.is_right, answer.text)
