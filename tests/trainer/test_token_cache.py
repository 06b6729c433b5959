"""What is cached comes back to the bit or not at all, and never takes more room than it may."""

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import eventually, rows
from tests.trainer.session_rig import LEAVE, FakeBudget, FakeLearner, Run, settings_with, start
from trainer.config.schema import Settings
from trainer.core import open_job
from trainer.core.chatml import CHATML
from trainer.core.open_job import Means, make_plan, open_rows, open_source, render_ahead
from trainer.core.replay import EarlierFiles
from trainer.core.tiny import _tokenizer
from trainer.data.conversation import Conversation
from trainer.data.plan import Plan
from trainer.data.render import Example, ExampleRenderer, example_of
from trainer.data.rows import BadRow, RowFile
from trainer.data.source import ExampleSource, PlannedStep
from trainer.data.token_cache import CacheFile, OpenedCache, TokenCache
from trainer.protocol.job import Cursor, EarlierFile, Job
from trainer.protocol.messages import JobEnded, PrepareJob

KEY = "a"
PLENTY = 10**9
EXAMPLES = [
    example_of([], [], is_truncated=False),
    example_of([7], [(0, 1)], is_truncated=False),
    example_of([1, 2, 3, 2**32 - 1, 5], [(1, 2), (3, 5)], is_truncated=True),
    example_of(list(range(20)), [(19, 20)], is_truncated=False),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(cache: TokenCache, key: str = KEY, max_bytes: int = PLENTY) -> OpenedCache:
    found = cache.open(key, max_bytes=max_bytes)
    assert found is not None
    return found


def fill(folder: Path, examples: Sequence[Example] = EXAMPLES, key: str = KEY) -> Path:
    """Keep examples as lines 1, 2, …, and return the file they are in."""
    cached = opened(TokenCache(folder), key)
    cached.put(enumerate(examples, start=1))
    cached.close()
    return folder / f"{key}.tokens"


def found_in(folder: Path, key: str = KEY, lines: int = len(EXAMPLES)) -> list[Example | None]:
    cached = opened(TokenCache(folder), key)
    found = [cached.get(line) for line in range(1, lines + 1)]
    cached.close()
    return found


# ---- what comes back


@given(
    token_ids=st.lists(st.integers(0, 2**32 - 1), max_size=30),
    mask=st.lists(st.booleans(), min_size=30, max_size=30),
    is_truncated=st.booleans(),
    line=st.integers(1, 5000),
)
def test_an_example_comes_back_as_it_was(tmp_path_factory, token_ids, mask, is_truncated, line):
    spans = [(i, i + 1) for i in range(len(token_ids)) if mask[i]]
    example = example_of(token_ids, spans, is_truncated=is_truncated)
    cached = opened(TokenCache(tmp_path_factory.mktemp("models") / "cache"))

    cached.put([(line, example)])

    assert cached.get(line) == example
    assert cached.get(line + 1) is cached.get(0) is None
    cached.close()


def test_examples_are_there_after_a_restart(folder):
    fill(folder)

    assert found_in(folder) == EXAMPLES


def test_nobody_else_may_read_them(folder):
    path = fill(folder)

    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_after_a_crash_in_the_middle_of_a_record_what_was_whole_before_counts_and_more_can_be_added(folder):
    whole = fill(folder).read_bytes()
    for size in range(len(whole)):
        path = fill(folder)
        path.write_bytes(whole[:size])

        kept = found_in(folder)
        cached = opened(TokenCache(folder))
        cached.put([(9, EXAMPLES[2])])
        cached.close()

        num_whole = sum(example is not None for example in kept)
        assert kept == EXAMPLES[:num_whole] + [None] * (len(EXAMPLES) - num_whole)
        assert found_in(folder, lines=9) == [*kept, None, None, None, None, EXAMPLES[2]]
        path.unlink()


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_costs_rows_but_never_changes_one(folder, bit):
    whole = fill(folder).read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        (folder / "a.tokens").write_bytes(damaged)

        found = found_in(folder)

        assert None in found
        assert all(example in (None, expected) for example, expected in zip(found, EXAMPLES, strict=True))


def test_a_file_damaged_while_it_is_open_costs_its_row_only(folder):
    cached = opened(TokenCache(folder))
    cached.put(enumerate(EXAMPLES, start=1))
    path = folder / "a.tokens"
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    assert [cached.get(line) for line in (1, 2, 3, 4)] == [*EXAMPLES[:3], None]
    cached.close()


def test_a_file_under_another_name_is_not_believed(folder):
    fill(folder).rename(folder / "b.tokens")

    assert found_in(folder, "b") == [None] * len(EXAMPLES)


# ---- room


def sizes(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in folder.iterdir()}


def test_the_file_that_was_not_used_for_longest_goes_first(folder):
    for at, key in enumerate("abc", start=1):
        os.utime(fill(folder, key=key), (at, at))
    os.utime(folder / "a.tokens", (9, 9))
    three = sum(sizes(folder).values())

    cached = opened(TokenCache(folder), "d", max_bytes=three)
    cached.put([(1, EXAMPLES[1])])

    assert sorted(sizes(folder)) == ["a", "c", "d"]
    cached.close()


@pytest.mark.parametrize("max_bytes", [40, 200, 1000])
def test_no_more_is_written_than_is_allowed_and_the_file_in_use_stays(folder, max_bytes):
    fill(folder, key="old")
    cached = opened(TokenCache(folder), "new", max_bytes=max_bytes)

    for line in range(1, 60):
        cached.put([(line, EXAMPLES[2])])
        assert sum(sizes(folder).values()) <= max_bytes

    assert sorted(sizes(folder)) == ["new"]
    assert (cached.get(1) == EXAMPLES[2]) == (max_bytes > 40)
    assert cached.get(59) is None
    cached.close()


class Disk:
    """A disk of so many bytes, on which there are a cache and others."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self.taken_by_others = 0

    def statvfs(self, path: Path) -> os.statvfs_result:
        free = self._size - self.taken_by_others - sum(sizes(self._folder).values())
        return os.statvfs_result((1, 1, 0, 0, free, 0, 0, 0, 0, 0))


@pytest.fixture
def disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    folder.mkdir()
    disk = Disk(folder, 1000)
    monkeypatch.setattr(os, "statvfs", disk.statvfs)
    return disk


def put_lines(cached: OpenedCache, lines: range) -> None:
    for line in lines:
        cached.put([(line, EXAMPLES[2])])


def test_at_most_half_of_what_would_be_free_is_taken_however_often_it_is_opened(folder, disk):
    for first in (1, 60):
        cached = opened(TokenCache(folder))
        put_lines(cached, range(first, first + 60))
        cached.close()

    assert 400 < sum(sizes(folder).values()) <= 500
    assert found_in(folder, lines=1) == [EXAMPLES[2]]


def test_a_file_stops_growing_when_others_fill_the_disk_meanwhile(folder, disk):
    cached = opened(TokenCache(folder))
    put_lines(cached, range(1, 4))
    before = sizes(folder)

    disk.taken_by_others = 800
    put_lines(cached, range(4, 8))

    assert sizes(folder) == before
    cached.close()


def test_files_that_rest_make_room_when_others_fill_the_disk(folder, disk):
    fill(folder, key="old")
    cached = opened(TokenCache(folder))
    disk.taken_by_others = 800

    cached.put([(1, EXAMPLES[2])])

    assert sorted(sizes(folder)) == [KEY]
    assert cached.get(1) == EXAMPLES[2]
    cached.close()


def test_without_room_for_a_cache_none_is_left(folder):
    fill(folder)

    assert TokenCache(folder).open("b", max_bytes=0) is None
    assert sizes(folder) == {}


def test_two_users_of_the_same_content_share_its_file(folder):
    cache = TokenCache(folder)
    one, other = opened(cache), opened(cache)

    one.put([(1, EXAMPLES[1])])
    one.close()

    assert other.get(1) == EXAMPLES[1]
    other.close()


def test_a_full_disk_turns_the_cache_off_with_one_line(folder, monkeypatch, caplog):
    cache = TokenCache(folder)
    cached = opened(cache)
    cached.put([(1, EXAMPLES[1])])

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)

    for line in (2, 3):
        cached.put([(line, EXAMPLES[1])])

    assert (cached.get(1), cached.get(2)) == (EXAMPLES[1], None)
    assert cache.open("b", max_bytes=PLENTY) is None
    [line] = caplog.messages
    assert "are not kept in" in line
    assert "No space left" in line
    cached.close()


def test_a_record_that_fitted_only_in_part_is_taken_back(folder, monkeypatch):
    write = os.write
    cached = opened(TokenCache(folder))
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:-1]))

    cached.put([(1, EXAMPLES[2])])

    monkeypatch.undo()
    cached.close()
    assert found_in(folder, lines=1) == [None]


def test_a_folder_that_cannot_be_written_turns_the_cache_off(folder, caplog):
    folder.write_text("a file")

    assert TokenCache(folder).open(KEY, max_bytes=PLENTY) is None
    assert len(caplog.messages) == 1


def test_a_link_is_not_followed(folder, tmp_path):
    fill(folder, key="b")
    target = tmp_path / "precious"
    target.write_text("mine")
    (folder / "a.tokens").symlink_to(target)

    assert TokenCache(folder).open(KEY, max_bytes=PLENTY) is None
    assert target.read_text() == "mine"


# ---- in use


class CountingRenderer:
    """Renders, and counts the rows."""

    def __init__(self) -> None:
        self.num_rows = 0

    def __call__(self, numbered: Sequence[tuple[int, Conversation]]) -> list[Example]:
        self.num_rows += len(numbered)
        renderer = ExampleRenderer(_tokenizer())
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
        tokenizer = _tokenizer()
        tokenizer.chat_template = template
        settings = settings_with(data=data)
        earlier = EarlierFiles(executor, lambda: None)
        means = Means(ExampleRenderer(tokenizer), executor, earlier, FakeBudget(), cache)
        source = open_source(
            job, open_rows(job, path, settings), make_plan(job, settings, ()), settings, means
        )
        step = source.step(0)
        source.close()
        executor.submit(int).result()
        return step

    return render


def test_what_decides_about_tokens_has_a_cache_of_its_own(first_step, folder):
    ways: list[dict[str, Any]] = [{}, {"template": "x" + CHATML}, {"max_length": 8}]

    cached = [first_step(cache=TokenCache(folder), **way) for way in ways]

    assert cached == [first_step(**way) for way in ways]
    assert len({repr(step) for step in cached}) == len(sizes(folder)) == len(ways)


@pytest.mark.parametrize("call", ["{{ strftime_now('%d %b %Y') }}", "{{ ['a', 'a'] | random }}"])
def test_what_a_template_says_otherwise_tomorrow_is_not_kept(first_step, folder, call):
    first_step(template=call + CHATML, cache=TokenCache(folder))

    assert not folder.exists()


def test_examples_of_other_code_are_not_believed(first_step, folder, monkeypatch):
    first_step(cache=TokenCache(folder))
    monkeypatch.setattr(open_job, "RENDERING_CODE", "of another release")

    first_step(cache=TokenCache(folder))

    assert len(sizes(folder)) == 2


def test_the_code_counts_as_other_when_a_module_changes(tmp_path):
    module = tmp_path / "render.py"
    module.write_text("END = '.'")
    before = open_job.hash_of_source(tmp_path)

    module.write_text("END = ''")

    assert open_job.hash_of_source(tmp_path) != before


def test_counts_of_cut_rows_and_rows_without_target_come_out_of_the_cache(job_file, folder):
    job, path = job_file("a", 10)
    settings = settings_with(data={"max_length": 12})

    def run() -> JobEnded:
        learner = FakeLearner()
        learner.tokenizer = _tokenizer()
        [ended] = Run([start(job, path, settings), LEAVE], learner=learner, cache=TokenCache(folder)).told(
            JobEnded
        )
        return ended

    rendered, cached = run(), run()

    assert rendered.truncated_rows == 10
    assert cached == rendered


class CountingCache(TokenCache):
    """Counts the steps that were added."""

    num_steps = 0

    def put(self, file: CacheFile, examples: Iterable[tuple[int, Example]]) -> None:
        super().put(file, examples)
        self.num_steps += 1


def test_the_first_steps_of_the_next_file_are_rendered_before_it_begins(job_file, folder, monkeypatch):
    settings = settings_with(data={"prefetch_steps": 3})
    job, path = job_file("a", 2)
    next_job, next_path = job_file("b", rows(10, start=50))
    learner = FakeLearner()
    learner.tokenizer = _tokenizer()
    cache = CountingCache(folder)

    def refuse(rows: RowFile, position: int) -> None:
        raise BadRow("it was to be rendered before")

    def once_rendered() -> None:
        eventually(lambda: cache.num_steps == 1 + 3, timeout_s=30)
        monkeypatch.setattr(RowFile, "read", refuse)

    run = Run(
        [start(job, path, settings), once_rendered, start(next_job, next_path, settings), LEAVE],
        between={0: [PrepareJob(job=next_job, path=str(next_path))]},
        learner=learner,
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
        learner = FakeLearner()
        learner.tokenizer = _tokenizer()
        orders = [start(job, path), start(next_job, next_path, settings_with(data={"max_length": 8})), LEAVE]
        hint = PrepareJob(job=next_job, path=str(next_path))
        return Run(orders, between={0: [hint]}, learner=learner, cache=cache).token_ids

    assert run(TokenCache(folder)) == run(None)


def test_a_file_that_was_set_aside_is_rendered_ahead_without_the_rows_it_replays(
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
    earlier = EarlierFiles(executor, lambda: None)
    means = Means(ExampleRenderer(_tokenizer()), executor, earlier, FakeBudget(), cache)

    with caplog.at_level(logging.DEBUG, logger="worker"), closing(open_rows(job, path, settings)) as row_file:
        render_ahead(job, settings, cursor, means)(row_file)
        executor.submit(int).result()  # after all of it

    assert cache.num_steps == 3
    assert caplog.messages == []


@pytest.mark.parametrize(
    "error, level", [(BadRow("it is torn"), logging.DEBUG), (IndexError("it is torn"), logging.WARNING)]
)
def test_a_step_that_cannot_be_rendered_ahead_is_logged(job_file, folder, executor, caplog, error, level):
    job, path = job_file("a", 10)

    def refuse(numbered: Sequence[tuple[int, Conversation]]) -> list[Example]:
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
