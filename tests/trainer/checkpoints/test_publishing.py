"""Room for a checkpoint is looked at before anything is written."""

import os
from types import SimpleNamespace

import pytest

from tests.trainer.checkpoint_rig import TOTAL_BYTES, names_in, publish, steps_in, store_in, write_files
from trainer.checkpoints.publishing import NoRoom, require_room
from trainer.checkpoints.retention import Retention


def free_bytes(monkeypatch, number):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=number, f_frsize=1))


@pytest.mark.parametrize("free, fits", [(2 * TOTAL_BYTES, True), (2 * TOTAL_BYTES - 1, False), (0, False)])
def test_twice_the_size_of_the_checkpoint_before_must_be_free(models, monkeypatch, free, fits):
    store = store_in(models)
    publish(store, 1)
    before = names_in(models)
    free_bytes(monkeypatch, free)
    written = []

    def write(folder):
        written.append(folder)
        write_files(folder)

    if fits:
        publish(store, 2, write=write)
        assert len(steps_in(models)) == 2
    else:
        with pytest.raises(NoRoom, match=r"0 MiB are free; expected 1 MiB, twice"):
            publish(store, 2, write=write)
        assert written == []
        assert (names_in(models), steps_in(models)) == (before, ["step-000000001"])


@pytest.mark.parametrize("free, fits", [(200, True), (199, False)])
def test_for_the_first_checkpoint_the_guess_counts(models, monkeypatch, free, fits):
    free_bytes(monkeypatch, free)

    if fits:
        require_room(models, Retention(), expected_bytes=100)
    else:
        with pytest.raises(NoRoom, match="0 MiB are free; expected 1 MiB"):
            require_room(models, Retention(), expected_bytes=100)


@pytest.mark.parametrize("max_bytes, fits", [(2 * TOTAL_BYTES, True), (2 * TOTAL_BYTES - 1, False)])
def test_a_limit_too_small_for_the_newest_two_is_no_room(models, max_bytes, fits):
    store = store_in(models)
    for step in (1, 2, 3):
        publish(store, step)

    if fits:
        publish(store, 4, rules=Retention(max_bytes=max_bytes))
        assert steps_in(models) == ["step-000000003", "step-000000004"]
    else:
        with pytest.raises(NoRoom, match=rf"max_bytes is {max_bytes}; expected at least {2 * TOTAL_BYTES} "):
            publish(store, 4, rules=Retention(max_bytes=max_bytes))
        assert len(steps_in(models)) == 3


def test_pinned_checkpoints_count_against_the_limit_until_they_are_unpinned(models):
    store = store_in(models)
    for step in (1, 2, 3):
        publish(store, step)
    pin = models / "checkpoints" / "step-000000001.pin"
    pin.touch()
    rules = Retention(max_bytes=2 * TOTAL_BYTES)

    with pytest.raises(NoRoom, match="unpin some"):
        publish(store, 4, rules=rules)
    pin.unlink()
    publish(store, 4, rules=rules)

    assert steps_in(models) == ["step-000000003", "step-000000004"]


def test_the_reason_reads_as_a_sentence_without_an_error_number(models, monkeypatch):
    free_bytes(monkeypatch, 0)

    with pytest.raises(OSError, match="free some space") as refused:
        require_room(models, Retention(), expected_bytes=1)

    assert str(refused.value).startswith(f"{models}: 0 MiB are free")
