"""The folders of the queue over the API: pages, counts, and what is done to several files at once."""

import csv
import io
import os

import pytest

from daemon.jobs.reasons import write_reason
from tests.daemon.filled_queue import put
from tests.support import rows, write_jsonl
from trainer.protocol.job import FaultKind, Priority, Reason


@pytest.fixture
def queue(queue, ledger):
    """Whose ledger is written at once, for those who read the file."""
    add = queue.add

    def added(*arguments):
        add(*arguments)
        ledger.commit()

    queue.add = added
    return queue


def ids(number):
    return [f"20261101-000000-{place:06d}" for place in range(number)]


def fail(
    layout, name, *, at="2026-11-01T00:00:00.000Z", priority=Priority.NORMAL, job="20261101-000000-000009"
):
    path = write_jsonl(layout.failed / name, rows(2))
    reason = Reason(
        kind=FaultKind.BAD_DATA, message="too odd", file=name, at=at, priority=priority, job_id=job
    )
    write_reason(path, reason)
    return path


def listed(ask, folder, **parameters):
    answer = ask.get("/api/queue/files", params={"folder": folder, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(page):
    return [file["name"] for file in page["files"]]


def walked(ask, folder, limit):
    """Return the names on each page."""
    pages, after = [], ""
    while after is not None:
        page = listed(ask, folder, limit=limit, after=after)
        pages.append(names(page))
        after = page["next"]
    return pages


def test_files_wait_in_the_order_of_their_training_and_unchecked_ones_come_last(ask, layout, queue):
    for name, job in zip(("z.jsonl", "b.jsonl", "m.jsonl"), ids(3), strict=True):
        put(queue, layout, name, id=job)
    for name in ("a.jsonl", "c.jsonl"):
        write_jsonl(layout.waiting(Priority.NORMAL) / name, rows(1))

    assert walked(ask, "normal", 2) == [["z.jsonl", "b.jsonl"], ["m.jsonl", "a.jsonl"], ["c.jsonl"]]
    page = listed(ask, "normal")
    assert [file["state"] for file in page["files"]] == ["waiting"] * 3 + ["unchecked"] * 2
    assert page["files"][0] | {"at": None, "bytes": 0} == {
        "place": "normal/z.jsonl",
        "name": "z.jsonl",
        "state": "waiting",
        "priority": "normal",
        "bytes": 0,
        "rows": 3,
        "format": None,
        "job": "20261101-000000-000000",
        "at": None,
        "reason": None,
    }


def test_a_page_that_ends_with_the_checked_files_is_followed_by_the_unchecked_ones(ask, layout, queue):
    for name, job in zip(("y.jsonl", "z.jsonl"), ids(2), strict=True):
        put(queue, layout, name, id=job)
    write_jsonl(layout.waiting(Priority.NORMAL) / "a.jsonl", rows(1))

    assert walked(ask, "normal", 2) == [["y.jsonl", "z.jsonl"], ["a.jsonl"]]


def test_a_file_that_was_just_moved_is_not_listed_where_the_ledger_still_has_it(ask, layout, queue):
    for name, job in zip(("a.jsonl", "b.jsonl", "c.jsonl"), ids(3), strict=True):
        put(queue, layout, name, id=job)
    (layout.waiting(Priority.NORMAL) / "b.jsonl").rename(layout.waiting(Priority.HIGH) / "b.jsonl")

    assert walked(ask, "normal", 2) == [["a.jsonl", "c.jsonl"]]
    assert names(listed(ask, "high")) == ["b.jsonl"]


def test_files_that_have_ended_come_with_the_last_one_first(ask, layout):
    for number in range(3):
        fail(layout, f"{number}.jsonl")
        os.utime(layout.failed / f"{number}.jsonl")

    assert walked(ask, "failed", 2) == [["2.jsonl", "1.jsonl"], ["0.jsonl"]]
    assert listed(ask, "failed")["files"][0]["reason"] == "too odd"


def test_the_inbox_says_what_is_never_accepted(ask, layout):
    write_jsonl(layout.inbox / "high" / "a.jsonl", rows(1))
    (layout.inbox / "b.txt").write_text("no rows")

    files = listed(ask, "inbox")["files"]

    assert [(file["place"], file["priority"]) for file in files] == [
        ("inbox/b.txt", "normal"),
        ("inbox/high/a.jsonl", "high"),
    ]
    assert "expected a name that ends in" in files[0]["reason"]
    assert files[1]["reason"] is None


def test_names_are_searched_whatever_their_case(ask, layout, queue):
    put(queue, layout, "Chats-ÄRGER.jsonl", id=ids(1)[0])
    put(queue, layout, "other.jsonl", id=ids(2)[1])
    fail(layout, "CHATS.jsonl")

    assert names(listed(ask, "normal", search="ärger")) == ["Chats-ÄRGER.jsonl"]
    assert names(listed(ask, "failed", search="chat")) == ["CHATS.jsonl"]
    assert names(listed(ask, "low", search="chat")) == []


def test_all_folders_are_counted(ask, layout, queue):
    put(queue, layout, "a.jsonl", id=ids(1)[0])
    put(queue, layout, "b.jsonl", id=ids(2)[1], priority=Priority.LOW)
    fail(layout, "c.jsonl")
    fail(layout, "d.jsonl")
    write_jsonl(layout.inbox / "e.jsonl", rows(1))
    ask.post("/api/queue/act", json={"act": "clear", "files": ["failed/d.jsonl"]})

    assert ask.get("/api/queue").json() == {
        "inbox": 1,
        "high": 0,
        "normal": 1,
        "low": 1,
        "processing": 0,
        "failed": 1,
        "skipped": 0,
        "recently_completed": 0,
        "trash": 1,
    }


def test_one_refused_file_does_not_keep_the_others(ask, layout, queue):
    put(queue, layout, "a.jsonl", id=ids(1)[0])
    put(queue, layout, "b.jsonl", id=ids(2)[1])

    answer = ask.post(
        "/api/queue/act",
        json={
            "act": "priority",
            "files": ["normal/a.jsonl", "normal/gone.jsonl", "normal/b.jsonl"],
            "priority": "high",
        },
    ).json()

    assert [result["is_done"] for result in answer] == [True, False, True]
    assert answer[0]["message"] == "a.jsonl waits with priority high"
    assert answer[1]["message"].startswith("no file is named normal/gone.jsonl")
    assert sorted(os.listdir(layout.waiting(Priority.HIGH))) == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("wanted, place", [(None, Priority.LOW), ("high", Priority.HIGH)])
def test_a_failed_file_is_put_back_with_its_priority_or_another(ask, layout, wanted, place):
    fail(layout, "a.jsonl", priority=Priority.LOW)

    body = {"act": "retry", "files": ["failed/a.jsonl"], "priority": wanted}
    [result] = ask.post("/api/queue/act", json=body).json()

    assert result["is_done"]
    assert os.listdir(layout.waiting(place)) == ["a.jsonl"]


def test_files_are_cleared_into_one_folder_and_come_back_from_there(ask, layout):
    fail(layout, "a.jsonl")
    fail(layout, "b.jsonl")

    cleared = ask.post(
        "/api/queue/act", json={"act": "clear", "files": ["failed/a.jsonl", "failed/b.jsonl", "low/c.jsonl"]}
    ).json()
    trash = listed(ask, "trash")["files"]
    [back] = ask.post("/api/queue/act", json={"act": "retry", "files": [trash[0]["place"]]}).json()

    assert [result["is_done"] for result in cleared] == [True, True, False]
    assert len({file["place"].partition("/")[0] for file in trash}) == 1
    assert walked(ask, "trash", 1) == [["b.jsonl"]]
    assert back["message"] == "a.jsonl waits again"


def test_a_file_is_admitted_and_another_is_removed(ask, layout, queue):
    fail(layout, "odd.jsonl")
    put(queue, layout, "a.jsonl", id=ids(1)[0])

    [admitted] = ask.post("/api/queue/act", json={"act": "admit", "files": ["failed/odd.jsonl"]}).json()
    [removed] = ask.post("/api/queue/act", json={"act": "remove", "files": ["normal/a.jsonl"]}).json()

    assert admitted["message"] == "odd.jsonl waits again, and is trained whatever its data report says"
    assert len(list(layout.admitted.iterdir())) == 1
    assert removed["message"] == "moved to queue/skipped/ as a.jsonl"
    assert names(listed(ask, "skipped")) == ["a.jsonl"]


def test_all_failed_files_are_retried_or_cleared_at_once(ask, layout):
    fail(layout, "a.jsonl")
    assert ask.post("/api/queue/retry-failed", json={}).json() == ["a.jsonl"]

    fail(layout, "b.jsonl")
    assert len(ask.post("/api/queue/clear", json={"outcome": "failed"}).json()["moved"]) == 1
    assert ask.post("/api/queue/clear", json={"outcome": "completed"}).status_code == 400


def test_a_table_as_csv_has_all_files_and_no_formulas(ask, layout):
    for name in ("=cmd|' a'!A1.jsonl", "<img src=x onerror=alert(1)>.jsonl", "b\n\u202ec.jsonl"):
        write_jsonl(layout.waiting(Priority.HIGH) / name, rows(1))

    answer = ask.get("/api/queue/files", params={"folder": "high", "limit": 1, "format": "csv"})
    found = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [row["name"] for row in found] == [
        "<img src=x onerror=alert(1)>.jsonl",
        "'=cmd|' a'!A1.jsonl",
        "b\\n\\u202ec.jsonl",
    ]


def test_a_name_that_is_no_text_can_be_listed_paged_over_and_acted_on(ask, layout):
    for name in (b"a\xff.jsonl", b"b\xff.jsonl"):
        with open(os.path.join(os.fsencode(layout.waiting(Priority.NORMAL)), name), "wb") as file:
            file.write(b"{}")

    assert walked(ask, "normal", 1) == [["a\\xff.jsonl"], ["b\\xff.jsonl"]]
    body = {"act": "priority", "priority": "low", "files": ["normal/b\\xff.jsonl"]}
    assert ask.post("/api/queue/act", json=body).json()[0]["is_done"]


@pytest.mark.parametrize("after", ["x", "ä", "am9iOg==", "Zm9v"])
def test_a_page_that_nobody_offered_is_no_error(ask, layout, after):
    for folder in ("inbox", "normal", "failed", "trash"):
        listed(ask, folder, after=after)


def test_a_link_to_read_changes_nothing(ask, layout):
    ask.headers["Authorization"] = f"Bearer {'r' * 40}"

    assert ask.get("/api/me").json() == {"scope": "read"}
    assert ask.post("/api/queue/retry-failed", json={}).status_code == 403
