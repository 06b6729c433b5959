"""Before its first step a session looks at a file's rows, and trains none that is not worth it."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually, row, rows
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.config.loader import BadConfig
from trainer.config.schema import ProfileSettings, Settings
from trainer.data.reading.rows import RowFile
from trainer.data.rendering.render import ExampleRenderer
from trainer.data.rendering.token_cache import TokenCache
from trainer.model import tiny
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.messages import (
    DataChecked,
    JobEnded,
    JobStarted,
    Pause,
    PreemptJob,
    PrepareJob,
    Resume,
)
from trainer.session import data_checks

LONG = row("Say it.", " ".join(f"word {n}," for n in range(12)))


def standard(**data: Any) -> Settings:
    return settings_with(data={"validation": "standard", "max_length": 60} | data)


def reports(run: Run) -> list[Any]:
    return [event.report for event in run.told(DataChecked)]


def test_the_report_comes_before_the_job_starts_and_the_steps_are_the_same_as_without(job_file):
    job, path = job_file("a", [*rows(30), rows(1)[0]])

    checked = Run([start(job, path, standard()), LEAVE])
    unchecked = Run([start(job, path), LEAVE])

    assert [type(event) for event in checked.told(DataChecked, JobStarted)] == [DataChecked, JobStarted]
    assert checked.token_ids == unchecked.token_ids
    [report] = reports(checked)
    assert (report.rows, report.sampled_rows, report.duplicate_rows, report.is_blocked) == (31, 31, 1, False)
    assert [finding.lines for finding in report.findings] == [(31,)]
    assert reports(unchecked) == []


def test_a_blocked_file_takes_no_step_and_says_how_it_can_be_trained(job_file):
    job, path = job_file("my chat", [LONG, *rows(9)])
    next_job, next_path = job_file("b", 2)

    run = Run([start(job, path, standard()), start(next_job, next_path, standard()), LEAVE])

    failed, completed = run.told(JobEnded)
    assert (failed.record.outcome, failed.fault, failed.durable) == (Outcome.FAILED, FaultKind.BAD_DATA, True)
    assert failed.record.steps == 0
    assert failed.record.message == (
        "1 of 10 rows (10 %, limit 5 %) do not fit into data.max_length (60 tokens; the longest has 121); "
        "line 1; change the rows or the settings, or admit the file as it is: "
        "training_queue retry 'my chat.jsonl' --admit"
    )
    assert completed.record.outcome is Outcome.COMPLETED
    assert [len(step) for step in run.token_ids] == [2]


def test_an_admitted_file_is_trained_as_without_the_look(job_file):
    job, path = job_file("a", [LONG, *rows(9)])

    admitted = Run([start(job, path, standard(), admitted=True), LEAVE])
    unchecked = Run([start(job, path, settings_with(data={"max_length": 60})), LEAVE])

    assert admitted.token_ids == unchecked.token_ids
    [report] = reports(admitted)
    assert report.is_admitted
    assert [finding.level for finding in report.findings] == ["block"]


def test_a_file_of_which_nothing_would_be_learned_is_blocked(job_file):
    job, path = job_file("a", [row("q" * 100 + str(i)) for i in range(5)])

    run = Run([start(job, path, standard(max_truncated_fraction=1.0)), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.record.outcome, ended.record.steps) == (Outcome.FAILED, 0)
    assert ended.record.message.startswith("5 of 5 rows (100 %, limit 1 %) have nothing to train within")


def test_a_row_that_could_not_be_trained_is_found_before_the_first_step(job_file):
    job, path = job_file("a", [*rows(20), {"messages": []}, *rows(20, start=20)])

    run = Run([start(job, path, standard()), LEAVE])

    [ended] = run.told(JobEnded)
    assert (ended.record.outcome, ended.record.steps) == (Outcome.FAILED, 0)
    assert "cannot be trained; the first error: line 21: messages is an empty list" in ended.record.message


def test_a_sample_is_looked_at_and_deep_looks_at_every_row(job_file, monkeypatch):
    monkeypatch.setattr(data_checks, "SAMPLED_ROWS", 4)
    job, path = job_file("a", 40)

    runs = [Run([start(job, path, standard(validation=depth)), LEAVE]) for depth in ("standard", "deep")]

    assert [reports(run)[0].sampled_rows for run in runs] == [4, 40]


@pytest.mark.parametrize("steps, num_reports", [(0, 2), (1, 1)])
def test_a_job_that_goes_on_is_not_looked_at_again(job_file, steps, num_reports):
    job, path = job_file("a", 10)
    order = start(job, path, standard())

    run = Run([order, order, LEAVE], between={steps: [PreemptJob(job_id="a")]})

    assert len(run.told(JobStarted)) == 2
    assert len(run.told(DataChecked)) == num_reports


embedded_tokenizer = cache(tiny.tokenizer)  # making it takes a second


class EmbeddedLearner(FakeEngine):
    """Has a tokenizer that keeps what it rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = embedded_tokenizer()


def test_nothing_is_rendered_twice_and_nothing_stays_open(job_file, tmp_path, monkeypatch):
    job, path = job_file("a", 20)
    rendered: list[int] = []
    original = ExampleRenderer.render

    def render(self: Any, conversations: Any, **limits: Any) -> Any:
        rendered.append(len(conversations))
        return original(self, conversations, **limits)

    monkeypatch.setattr(ExampleRenderer, "render", render)
    token_cache = TokenCache(tmp_path / "cache")

    run = Run([start(job, path, standard()), LEAVE], engine=EmbeddedLearner(), cache=token_cache)

    assert sum(rendered) == 20
    assert len(run.trained) == 10
    assert token_cache._opened == {}


def test_a_blocked_file_leaves_no_cache_open(job_file, tmp_path):
    token_cache = TokenCache(tmp_path / "cache")
    settings = standard(max_length=8)

    run = Run([start(*job_file(), settings), LEAVE], engine=EmbeddedLearner(), cache=token_cache)

    assert run.told(JobEnded)[0].record.outcome is Outcome.FAILED
    assert token_cache._opened == {}


# ---- while another file trains


def prepared_run(job_file: Any, tmp_path: Path, settings: Settings, then: Any, *, hint: Settings) -> Run:
    job, path = job_file("a", 2)
    next_job, next_path = job_file("b", 40)
    return Run(
        [start(job, path, hint), then, start(next_job, next_path, settings), LEAVE],
        between={1: [PrepareJob(job=next_job, path=str(next_path))]},
        engine=EmbeddedLearner(),
        settings=hint,
        cache=TokenCache(tmp_path / "cache"),
    )


def test_the_next_file_is_looked_at_while_the_current_one_trains(job_file, tmp_path, monkeypatch):
    made: list[Any] = []
    original = data_checks.FileInspection.report
    monkeypatch.setattr(
        data_checks.FileInspection, "report", lambda self: made.append(original(self)) or made[-1]
    )
    settings = settings_with(training={"batch_size": 1}, data={"validation": "standard"})

    def once_ready() -> None:
        eventually(lambda: [report.file for report in made] == ["a.jsonl", "b.jsonl"])
        monkeypatch.setattr(RowFile, "read", None)  # nothing needs to be read any more

    run = prepared_run(job_file, tmp_path, settings, once_ready, hint=settings)

    assert [report.file for report in reports(run)] == ["a.jsonl", "b.jsonl"]
    assert [event.record.steps for event in run.told(JobEnded)] == [2, 40]
    assert len(made) == 2


def test_a_report_by_other_settings_is_made_anew(job_file, tmp_path):
    hint = settings_with(training={"batch_size": 1}, data={"validation": "standard"})
    settings = settings_with(training={"batch_size": 1}, data={"validation": "standard", "max_length": 50})

    run = prepared_run(job_file, tmp_path, settings, lambda: None, hint=hint)

    assert [report.max_length for report in reports(run)] == [2048, 50]


def test_copies_are_found_also_in_a_file_that_was_opened_when_nobody_wanted_to_know(job_file, tmp_path):
    hint = settings_with(training={"batch_size": 1})
    job, path = job_file("a", 2)
    next_job, next_path = job_file("b", [*rows(5), *rows(5)])

    run = Run(
        [start(job, path, hint), start(next_job, next_path, standard(max_length=99)), LEAVE],
        between={1: [PrepareJob(job=next_job, path=str(next_path))]},
        settings=hint,
    )

    assert [report.duplicate_rows for report in reports(run)] == [5]


def test_a_look_ahead_is_given_up_for_a_file_that_overtakes(job_file, tmp_path, monkeypatch):
    settings = settings_with(training={"batch_size": 1}, data={"validation": "standard"})
    (job, path), (late, late_path), (urgent, urgent_path) = (job_file(name, 40) for name in "abc")

    run = Run(
        [
            start(job, path, settings),
            start(urgent, urgent_path, settings),
            start(late, late_path, settings),
            LEAVE,
        ],
        between={1: [PrepareJob(job=late, path=str(late_path))]},
        engine=EmbeddedLearner(),
        settings=settings,
    )

    assert [report.file for report in reports(run)] == ["a.jsonl", "c.jsonl", "b.jsonl"]
    assert [event.record.outcome for event in run.told(JobEnded)] == [Outcome.COMPLETED] * 3


def test_a_template_that_cannot_be_used_is_said_before_the_first_step(job_file):
    engine = EmbeddedLearner()
    engine.tokenizer = tiny.tokenizer()
    engine.tokenizer.chat_template = "{{ messages[-1]['content'] }}"  # type: ignore[attr-defined]

    twice = {"messages": [*row()["messages"], *row()["messages"]]}

    with pytest.raises(BadConfig, match="chat template"):
        Run([start(*job_file("a", [twice]), standard()), LEAVE], engine=engine)


def test_a_pause_comes_before_the_look(job_file):
    job, path = job_file("a", 4)

    run = Run([Pause(), start(job, path, standard()), Resume(), LEAVE])

    assert len(reports(run)) == 1
    assert run.told(JobEnded)[0].record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("profile, percent", [("plain", 50.0), ("emoji_think", 0.0)])
def test_the_report_says_how_many_rows_think_as_the_profile_has_them(job_file, profile, percent):
    thinking = [row(f"Say {i}.", f"<think>hm</think>{i}" if i % 2 else f"{i}") for i in range(10)]
    settings = standard(max_length=500).model_copy(update={"profile": ProfileSettings(name=profile)})

    run = Run([start(*job_file("a", thinking), settings), LEAVE])

    [report] = reports(run)
    assert report.think_tag_percent == percent
