"""Rows in the cache are not rendered again, and whatever decides about tokens has a cache of its own."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually, rows
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, settings_with, start
from trainer.config.schema import Settings
from trainer.data.conversation import Conversation
from trainer.data.plan import Plan
from trainer.data.reading.rows import BadRow, RowFile
from trainer.data.rendering.render import ExampleRenderer, RowExamples
from trainer.data.rendering.source import ExampleSource, PlannedStep
from trainer.data.rendering.token_cache import CacheFile, OpenedCache, TokenCache
from trainer.model import tiny
from trainer.model.template_choice import CHATML
from trainer.pipeline import example_pipeline, rendering
from trainer.pipeline.example_pipeline import ExamplePipeline, open_rows
from trainer.pipeline.job_plan import make_plan
from trainer.profiles.plain import PlainProfile
from trainer.protocol.job import Cursor, EarlierFile, Job
from trainer.protocol.messages import JobEnded, PrepareJob

PLENTY = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(cache: TokenCache) -> OpenedCache:
    found = cache.open("a", max_bytes=PLENTY)
    assert found is not None
    return found


class CountingRenderer:
    """Renders, and counts the rows."""

    def __init__(self) -> None:
        self.num_rows = 0

    def __call__(self, numbered: Sequence[tuple[int, Conversation]]) -> list[RowExamples]:
        self.num_rows += len(numbered)
        renderer = ExampleRenderer(tiny.tokenizer())
        return renderer.render([conversation for _, conversation in numbered], max_length=20)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def test_a_second_epoch_and_a_restart_render_nothing_and_take_the_same_steps(job_file, folder, executor):
    job, path = job_file("a", 10)
    plan = Plan(sha256=job.sha256, num_rows=10, rows_per_step=4, epochs=2, seed=1)

    def run(cache: OpenedCache | None) -> tuple[list[PlannedStep], int]:
        render = CountingRenderer()
        source = ExampleSource(
            open_rows(job, path, Settings()), plan, render, executor=executor, lookahead=2, cache=cache
        )
        steps = list(source.steps(range(plan.num_steps)))
        source.close()
        executor.submit(int).result()  # after the source was closed
        return steps, render.num_rows

    uncached, filling, restarted = run(None), run(opened(TokenCache(folder))), run(opened(TokenCache(folder)))

    assert uncached[0] == filling[0] == restarted[0]
    assert (uncached[1], filling[1], restarted[1]) == (20, 10, 0)


@pytest.fixture
def first_step(
    job_file: Callable[..., tuple[Job, Path]], folder: Path, executor: ThreadPoolExecutor
) -> Callable[..., PlannedStep]:
    """Return a function that gives the first step of a file as these settings and this template render it."""
    job, path = job_file("a", 10)

    def render(template: str = CHATML, cache: TokenCache | None = None, **data: Any) -> PlannedStep:
        tokenizer = tiny.tokenizer()
        tokenizer.chat_template = template
        settings = settings_with(data=data)
        pipeline = ExamplePipeline(ExampleRenderer(tokenizer), executor, cache)
        plan, profile = make_plan(job, settings, ()), PlainProfile({})
        source = pipeline.open_source(job, open_rows(job, path, settings), plan, settings, profile)
        step = source.step(0)
        source.close()
        executor.submit(int).result()
        return step

    return render


def test_what_decides_about_tokens_has_a_cache_of_its_own(first_step, folder):
    ways: list[dict[str, Any]] = [
        {},
        {"template": "x" + CHATML},
        {"max_length": 8},
        {"max_length": 8, "overlong": "drop"},
        {"train_on": "all"},
    ]

    cached = [first_step(cache=TokenCache(folder), **way) for way in ways]

    assert cached == [first_step(**way) for way in ways]
    assert len({repr(step) for step in cached}) == len(list(folder.glob("*.tokens"))) == len(ways)


def test_rows_under_other_names_have_a_cache_of_their_own(first_step, folder):
    first_step(cache=TokenCache(folder))

    first_step(cache=TokenCache(folder), fields={"messages": "dialog"})

    assert len(list(folder.glob("*.tokens"))) == 2


@pytest.mark.parametrize("call", ["{{ strftime_now('%d %b %Y') }}", "{{ ['a', 'a'] | random }}"])
def test_what_a_template_says_otherwise_tomorrow_is_not_kept(first_step, folder, call):
    first_step(template=call + CHATML, cache=TokenCache(folder))

    assert not folder.exists()


def test_examples_of_other_code_are_not_believed(first_step, folder, monkeypatch):
    first_step(cache=TokenCache(folder))
    monkeypatch.setattr(example_pipeline, "RENDERING_CODE", "of another release")

    first_step(cache=TokenCache(folder))

    assert len(list(folder.glob("*.tokens"))) == 2


def test_the_code_counts_as_other_when_a_module_changes(tmp_path):
    module = tmp_path / "render.py"
    module.write_text("END = '.'")
    before = rendering.hash_of_source(tmp_path)

    module.write_text("END = ''")

    assert rendering.hash_of_source(tmp_path) != before


def test_counts_of_cut_rows_and_rows_without_target_come_out_of_the_cache(job_file, folder):
    job, path = job_file("a", 10)
    settings = settings_with(data={"max_length": 12})

    def run() -> JobEnded:
        engine = FakeEngine()
        engine.tokenizer = tiny.tokenizer()
        [ended] = Run([start(job, path, settings), LEAVE], engine=engine, cache=TokenCache(folder)).told(
            JobEnded
        )
        return ended

    rendered, cached = run(), run()

    assert rendered.truncated_rows == 10
    assert cached == rendered


class CountingCache(TokenCache):
    """Counts the steps that were added."""

    num_steps = 0

    def put(self, file: CacheFile, examples: Iterable[tuple[int, RowExamples]]) -> None:
        super().put(file, examples)
        self.num_steps += 1


def test_the_first_steps_of_the_next_file_are_rendered_before_it_begins(job_file, folder, monkeypatch):
    settings = settings_with(data={"prefetch_steps": 3})
    job, path = job_file("a", 2)
    next_job, next_path = job_file("b", rows(10, start=50))
    engine = FakeEngine()
    engine.tokenizer = tiny.tokenizer()
    cache = CountingCache(folder)

    def refuse(rows: RowFile, position: int) -> None:
        raise BadRow("it was to be rendered before")

    def once_rendered() -> None:
        eventually(lambda: cache.num_steps == 1 + 3)
        monkeypatch.setattr(RowFile, "read", refuse)

    run = Run(
        [start(job, path, settings), once_rendered, start(next_job, next_path, settings), LEAVE],
        between={0: [PrepareJob(job=next_job, path=str(next_path))]},
        engine=engine,
        settings=settings,
        cache=cache,
    )

    _, ended = run.told(JobEnded)
    assert ended.record.steps == 3
    assert "it was to be rendered before" in ended.record.message


def test_a_file_that_was_made_ready_for_other_settings_is_rendered_again(job_file, folder):
    job, path = job_file("a", 2)
    next_job, next_path = job_file("b", 6)

    def run(cache: TokenCache | None) -> list[list[list[int]]]:
        engine = FakeEngine()
        engine.tokenizer = tiny.tokenizer()
        orders = [start(job, path), start(next_job, next_path, settings_with(data={"max_length": 8})), LEAVE]
        hint = PrepareJob(job=next_job, path=str(next_path))
        return Run(orders, between={0: [hint]}, engine=engine, cache=cache).token_ids

    assert run(TokenCache(folder)) == run(None)


def test_a_file_that_was_preempted_is_rendered_ahead_without_the_rows_it_replays(
    job_file, folder, executor, caplog
):
    job, path = job_file("a", 10)
    settings = settings_with(training={"batch_size": 4, "replay_fraction": 0.5}, data={"prefetch_steps": 3})
    cursor = Cursor(
        job_id=job.id,
        name=job.name,
        sha256=job.sha256,
        plan="",
        step=1,
        rows_trained=2,
        settings=settings.model_dump(mode="json"),
        replayed=(EarlierFile(job_id="old", name="old.jsonl", sha256="b", rows=3),),
    )
    cache = CountingCache(folder)
    pipeline = ExamplePipeline(ExampleRenderer(tiny.tokenizer()), executor, cache)

    with caplog.at_level(logging.DEBUG, logger="worker"), closing(open_rows(job, path, settings)) as row_file:
        pipeline.render_ahead(job, settings, cursor)(row_file)
        executor.submit(int).result()  # after all of it

    assert cache.num_steps == 3
    assert caplog.messages == []


@pytest.mark.parametrize(
    "error, level", [(BadRow("it is torn"), logging.DEBUG), (IndexError("it is torn"), logging.WARNING)]
)
def test_a_step_that_cannot_be_rendered_ahead_is_logged(job_file, folder, executor, caplog, error, level):
    job, path = job_file("a", 10)

    def refuse(numbered: Sequence[tuple[int, Conversation]]) -> list[RowExamples]:
        raise error

    with (
        caplog.at_level(logging.DEBUG, logger="worker"),
        closing(open_rows(job, path, Settings())) as row_file,
    ):
        plan, cache = make_plan(job, Settings(), ()), opened(TokenCache(folder))
        source = ExampleSource(row_file, plan, refuse, executor=executor, lookahead=1, cache=cache)
        source.warm([0])
        executor.submit(int).result()

    [told] = caplog.records
    assert (told.levelno, told.getMessage()) == (level, "a step was not rendered ahead: it is torn")
