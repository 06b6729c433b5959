"""What is cached comes back to the bit or not at all, and never takes more room than it may."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.rendering.render import RowExamples, example_of
from trainer.data.rendering.token_cache import OpenedCache, TokenCache

KEY = "a"
PLENTY = 10**9
EXAMPLES = [
    (),
    (example_of([7], [(0, 1)], is_truncated=False),),
    (example_of([1, 2, 3, 2**32 - 1, 5], [(1, 2), (3, 5)], is_truncated=True),),
    (
        example_of([], [], is_truncated=False),
        example_of(list(range(20)), [(19, 20)], is_truncated=True),
        example_of([3, 4], [(1, 2)], is_truncated=False),
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(cache: TokenCache, key: str = KEY, max_bytes: int = PLENTY) -> OpenedCache:
    found = cache.open(key, max_bytes=max_bytes)
    assert found is not None
    return found


def fill(folder: Path, examples: Sequence[RowExamples] = EXAMPLES, key: str = KEY) -> Path:
    """Keep examples as lines 1, 2, …, and return the file they are in."""
    cached = opened(TokenCache(folder), key)
    cached.put(enumerate(examples, start=1))
    cached.close()
    return folder / f"{key}.tokens"


def found_in(folder: Path, key: str = KEY, lines: int = len(EXAMPLES)) -> list[RowExamples | None]:
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
    example = (example_of(token_ids, spans, is_truncated=is_truncated),)
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
