"""The folders of the queue page by page: with many files, too, and while they move."""

import os

import pytest

from daemon.client.queue_pages import QueueFolder
from daemon.jobs.listing import find_named
from tests.daemon.filled_queue import put
from tests.support import rows, write_jsonl
from trainer.protocol.places import Priority


@pytest.fixture
def waiting(ledger, queue, layout):
    """Three files that wait, as the ledger knows."""
    for number in range(3):
        put(queue, layout, f"{number}.jsonl", id=f"20261101-000000-{number:06}")
    ledger.commit()


@pytest.fixture
def unlisted(monkeypatch):
    """Folders that nobody may list, as if they had a hundred thousand files."""

    def refuse(folder):
        raise AssertionError(f"{folder} is listed")

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)


def test_a_page_of_waiting_files_does_not_list_the_folder(client, waiting, unlisted):
    page = client.queue_pages.page(QueueFolder.NORMAL, limit=2)

    assert [file.name for file in page.files] == ["0.jsonl", "1.jsonl"]
    assert page.next is not None


def test_a_file_that_is_named_as_it_is_is_found_without_listing_its_folder(layout, waiting, unlisted):
    found = find_named([layout.waiting(Priority.NORMAL)], "normal/1.jsonl")

    assert found == [layout.waiting(Priority.NORMAL) / "1.jsonl"]


@pytest.mark.parametrize("name", ["", "normal/", "normal/.hidden", "normal/a\0", "normal/" + "x" * 300])
def test_what_is_no_name_of_a_file_finds_none(layout, waiting, name):
    assert find_named([layout.waiting(Priority.NORMAL)], name) == []


def test_a_folder_is_counted_again_only_when_it_has_changed(client, layout, waiting, monkeypatch):
    folder = layout.waiting(Priority.NORMAL)
    for place in (folder, *layout.folders()):
        os.utime(place, ns=(0, 0))
    assert client.queue_pages.counts()[QueueFolder.NORMAL] == 3

    scan, counted = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: counted.append(str(path)) or scan(path))
    assert client.queue_pages.counts()[QueueFolder.NORMAL] == 3
    assert str(folder) not in counted

    write_jsonl(folder / "new.jsonl", rows(1))
    assert client.queue_pages.counts()[QueueFolder.NORMAL] == 4


def test_a_folder_that_somebody_removed_has_no_files(client, layout):
    layout.failed.rmdir()

    assert client.queue_pages.counts()[QueueFolder.FAILED] == 0
    assert client.queue_pages.page(QueueFolder.FAILED, limit=2).files == ()
