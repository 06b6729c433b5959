"""Uploads: they grow where the daemon does not look, go on after a break, and appear whole."""

import asyncio
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon.client import uploads as client_uploads
from daemon.client.errors import FileRefused, WrongOffset
from daemon.client.uploads import Upload, Uploads
from daemon.intake.inbox import find_files
from tests.daemon.monitor.conftest import PORT, TOKENS
from trainer.protocol import one_shot
from trainer.protocol.added_table import AddedTable
from trainer.protocol.places import Priority

ROWS = b'{"text": "abc"}\n' * 100


def put(ask, name, content, *, size=None, **parameters):
    size = len(content) if size is None else size
    return ask.put(f"/api/uploads/{name}", content=content, params={"size": size, **parameters})


def received(ask, name, size, **parameters):
    return ask.get(f"/api/uploads/{name}", params={"size": size, **parameters})


def seen(layout):
    """Return what the daemon sees in the inbox."""
    return {str(path.relative_to(layout.inbox)): path.read_bytes() for path in find_files(layout.inbox)}


def test_a_file_appears_whole_with_its_priority(ask, layout):
    answer = put(ask, "chat.jsonl", ROWS, priority="high")

    assert answer.json() == {"received": 1600, "size": 1600, "added_as": "chat.jsonl", "rows": None}
    assert seen(layout) == {"high/chat.jsonl": ROWS}
    assert (layout.inbox / "high" / "chat.jsonl").stat().st_mode & 0o077 == 0


def test_an_upload_goes_on_where_it_was_broken_off(ask, layout):
    half = put(ask, "chat.jsonl", ROWS[:700], size=1600, id="x").json()
    assert (half["received"], half["added_as"], seen(layout)) == (700, None, {})
    assert received(ask, "chat.jsonl", 1600, id="x").json()["received"] == 700
    assert received(ask, "chat.jsonl", 1600, id="y").json()["received"] == 0

    whole = put(ask, "chat.jsonl", ROWS[700:], size=1600, offset=700, id="x").json()

    assert whole["added_as"] == "chat.jsonl"
    assert seen(layout) == {"normal/chat.jsonl": ROWS}
    assert received(ask, "chat.jsonl", 1600, id="x").json() == whole


@pytest.mark.parametrize("offset", [0, 699, 701])
def test_a_part_that_does_not_follow_is_refused(ask, layout, offset):
    put(ask, "chat.jsonl", ROWS[:700], size=1600)

    answer = put(ask, "chat.jsonl", ROWS[offset:], size=1600, offset=offset)

    assert answer.status_code == 409
    assert "700 bytes have come so far" in answer.json()["error"]
    assert seen(layout) == {}


def test_more_than_the_file_was_to_have_is_refused(ask, layout):
    answer = put(ask, "chat.jsonl", ROWS, size=1599)

    assert answer.status_code == 409
    assert seen(layout) == {}


def test_two_cannot_add_to_the_same_upload(layout):
    uploads = Uploads(layout, settings())
    upload = Upload(name="chat.jsonl", size=10)

    with uploads.opened(upload, 0), pytest.raises(WrongOffset, match="is being uploaded already"):  # noqa: SIM117
        with uploads.opened(upload, 0):
            pass


def test_no_file_is_ever_overwritten(ask, layout):
    for _ in range(2):
        last = put(ask, "chat.jsonl", ROWS)

    assert last.json()["added_as"] == "chat-2.jsonl"
    assert seen(layout) == {"normal/chat.jsonl": ROWS, "normal/chat-2.jsonl": ROWS}


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.jsonl",
        "a%5Cb.jsonl",
        "a%0Ab.jsonl",
        "a%E2%80%AEb.jsonl",
        "a%00.jsonl",
        "notes.txt",
        "chat.jsonl.part",
        "x.rejected.jsonl",
        "x" * 200 + ".jsonl",
    ],
)
def test_names_that_the_inbox_would_not_take_are_refused(ask, layout, name):
    answer = put(ask, name, ROWS)

    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].endswith("rename it, and try again")
    assert sorted(os.listdir(layout.inbox)) == ["high", "low", "normal"]
    assert os.listdir(layout.inbox / "normal") == []


@pytest.mark.parametrize("name", ["..%2F..%2Fevil.jsonl", "%2e%2e/evil.jsonl", "a%2Fb.jsonl"])
def test_no_name_leads_out_of_the_inbox(ask, layout, name):
    assert put(ask, name, ROWS).status_code == 404
    assert seen(layout) == {}


def test_a_file_that_is_too_large_is_refused_before_it_comes(ask, app_client, layout):
    app_client.uploads.most_bytes = 1_000

    answer = put(ask, "chat.jsonl", ROWS)

    assert answer.status_code == 413
    assert "chat.jsonl has 2 KB; expected at most 1 KB (--max-upload)" in answer.json()["error"]
    assert ask.get("/api/uploads").json() == {"most_bytes": 1000}


def test_what_the_daemon_needs_stays_free(ask, layout, monkeypatch):
    (layout.config_file).write_text('{"daemon": {"min_free_bytes": 1000000}}')
    monkeypatch.setattr(
        client_uploads.os, "statvfs", lambda folder: SimpleNamespace(f_bavail=1_001_000, f_frsize=1)
    )

    answer = put(ask, "chat.jsonl", ROWS)

    assert answer.status_code == 413
    assert "needs 2 KB more; 1 KB are free besides what the daemon needs" in answer.json()["error"]


def test_a_disk_that_fills_up_meanwhile_ends_the_upload_which_can_go_on(ask, layout, monkeypatch):
    free = iter([10**9])
    monkeypatch.setattr(
        client_uploads.os, "statvfs", lambda folder: SimpleNamespace(f_bavail=next(free, 0), f_frsize=1)
    )
    monkeypatch.setattr(client_uploads, "SPACE_LOOKED_AT_BYTES", 1)
    (layout.config_file).write_text('{"daemon": {"min_free_bytes": 1000}}')

    answer = put(ask, "chat.jsonl", ROWS)

    assert answer.status_code == 413
    assert seen(layout) == {}


def test_a_cancelled_upload_leaves_nothing(ask, layout):
    put(ask, "chat.jsonl", ROWS[:700], size=1600)

    ask.post("/api/uploads/chat.jsonl/cancel", json={"size": 1600})

    assert os.listdir(layout.inbox / "normal") == []


def test_only_uploads_that_nobody_continued_for_a_day_are_removed(ask, layout):
    put(ask, "old.jsonl", ROWS[:700], size=1600)
    put(ask, "new.jsonl", ROWS[:700], size=1600)
    for folder in (layout.inbox / "normal").iterdir():
        if (folder / "old.jsonl").exists():
            os.utime(folder / "old.jsonl", (0, 0))
            os.utime(folder, (0, 0))

    assert Uploads(layout, settings()).remove_abandoned() == 1
    assert received(ask, "new.jsonl", 1600).json()["received"] == 700
    assert received(ask, "old.jsonl", 1600).json()["received"] == 0


def test_the_content_is_written_as_it_comes_and_never_collected(app, layout):
    part, number = bytes(1 << 20), 64
    lags, answers, left = [], [], iter(range(number))

    async def receive():
        sent = next(left, None)
        if sent is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        there = [path.stat().st_size for path in layout.inbox.glob("low/.upload-*/zeros.jsonl")]
        lags.append(sent * len(part) - sum(there))
        return {"type": "http.request", "body": bytearray(part), "more_body": True}

    async def send(message):
        answers.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/api/uploads/zeros.jsonl",
        "query_string": f"size={number * len(part)}&priority=low".encode(),
        "headers": [
            (b"host", f"127.0.0.1:{PORT}".encode()),
            (b"authorization", f"Bearer {TOKENS.control}".encode()),
        ],
    }
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(1) as thread:  # a browser's tests may have a loop in this one
            thread.submit(lambda: asyncio.run(app(scope, receive, send))).result()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answers[0]["status"] == 200, answers
    assert (layout.inbox / "low" / "zeros.jsonl").stat().st_size == number * len(part)
    assert max(lags) == 0
    assert peak_bytes < 16 << 20


def test_a_table_is_converted_by_a_process_of_its_own(ask, layout, monkeypatch, app_client):
    asked = []

    def ask_process(module, order, answer_type, **options):
        asked.append((module, os.path.basename(order.file), Path(order.file).read_bytes(), order.priority))
        return AddedTable(added_as="table.jsonl", rows=2)

    monkeypatch.setattr("daemon.client.helper_process.ask", ask_process)
    content = b"prompt,response\na,b\nc,d\n"

    answer = put(ask, "table.csv", content, priority="high", id="t")

    assert answer.json() == {"received": 24, "size": 24, "added_as": "table.jsonl", "rows": 2}
    assert asked == [("daemon.mains.add_table", "table.csv", content, Priority.HIGH)]
    assert received(ask, "table.csv", 24, priority="high", id="t").json()["added_as"] == "table.jsonl"


def test_a_table_that_cannot_be_converted_is_refused_and_gone(ask, layout, monkeypatch):
    def refuse(module, order, answer_type, **options):
        raise FileRefused(f"{order.file}: row 2 has 3 cells; nothing was added", is_bad_config=False)

    monkeypatch.setattr("daemon.client.helper_process.ask", refuse)

    answer = put(ask, "table.csv", b"prompt,response\na,b\nc,d\n")

    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "table.csv: row 2 has 3 cells; nothing was added",
    )
    assert os.listdir(layout.inbox / "normal") == []


def test_the_process_converts_a_table(layout):
    source = layout.base / "table.csv"
    source.write_text("prompt,response\na,b\nc,d\n")
    from trainer.protocol.added_table import MODULE, AddTableOrder

    order = AddTableOrder(base=str(layout.base), file=str(source), priority=Priority.LOW)

    assert one_shot.ask(MODULE, order, AddedTable) == AddedTable(added_as="table.jsonl", rows=2)
    assert (layout.inbox / "low" / "table.jsonl").read_text().count("\n") == 2


def settings():
    found = SimpleNamespace(
        daemon=SimpleNamespace(min_free_bytes=0), disk=SimpleNamespace(min_free_bytes=None)
    )
    return SimpleNamespace(effective=lambda: SimpleNamespace(settings=found))
