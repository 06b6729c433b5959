"""What a job is trained with, once it has begun."""

import pytest

from trainer.config.schema import Settings
from trainer.pipeline.job_plan import job_settings
from trainer.protocol.job import Cursor


def cursor(**data: str) -> Cursor:
    return Cursor(job_id="a", sha256="", plan="", step=1, rows_trained=1, settings={"data": data})


@pytest.mark.parametrize(
    "begun, expected",
    [(cursor(), "truncate_right"), (cursor(overlong="drop"), "drop"), (None, "truncate_left_turns")],
)
def test_a_job_that_an_earlier_release_began_has_its_long_rows_cut_as_before(begun, expected):
    assert job_settings(begun, Settings()).data.overlong == expected


@pytest.mark.parametrize(
    "begun, expected",
    [(cursor(), "tokens"), (cursor(quoted_control_tokens="text"), "text"), (None, "text")],
)
def test_a_job_that_an_earlier_release_began_keeps_its_quoted_control_tokens(begun, expected):
    assert job_settings(begun, Settings()).data.quoted_control_tokens == expected


@pytest.mark.parametrize(
    "begun, expected",
    [
        (cursor(), "tokens"),
        (cursor(quoted_control_tokens="text"), "special"),
        (cursor(quoted_control_tokens="text", quoted_turn_markers="text"), "text"),
        (cursor(quoted_control_tokens="tokens", quoted_turn_markers="text"), "tokens"),
        (None, "text"),
    ],
)
def test_a_job_that_an_earlier_release_began_keeps_its_quoted_markers_of_turns(begun, expected):
    assert job_settings(begun, Settings()).data.quotes == expected
