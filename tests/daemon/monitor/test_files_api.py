"""Past files page by page, and one file with its report, its rejected rows, its lengths and its rows."""

import csv
import io
import json
import threading

import pytest

from daemon.client.errors import HelperFailed
from daemon.client.helper_process import ask as ask_process
from daemon.files.notes import report_file
from tests.daemon.cli.conftest import answering
from tests.daemon.client.eventful import EVIL, Life, eventful_day
from tests.support import rows, write_jsonl
from trainer.protocol.data_report import DataReport, Finding
from trainer.protocol.files import write_json
from trainer.protocol.places import Outcome, Priority
from trainer.protocol.show import Shown, ShownExample, ShownToken, ShowOrder

__all__ = ["answering"]

ROW = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}


def past(ask, **parameters):
    answer = ask.get("/api/files", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(page):
    return [file["name"] for file in page["files"]]


def test_files_that_have_ended_come_page_by_page_with_what_they_have_brought(ask, layout):
    eventful_day(layout)

    first = past(ask, limit=2)
    second = past(ask, limit=2, after=first["next"])

    assert [file["state"] for file in first["files"]] == ["completed", "failed"]
    assert names(second) == ["chat.jsonl", "yesterday.jsonl"]
    assert second["next"] is None
    chat = second["files"][0]
    assert (chat["steps"], chat["first_loss"], chat["last_loss"]) == (3, 0.9, 0.3)
    assert (chat["before"]["loss"], chat["after"]["loss"]) == (2.0, 1.5)
    assert (chat["after"]["weights"], chat["validation_change"]) == ("last", -0.5)
    assert (first["files"][1]["reason"], first["files"][1]["checkpoint"]) == (
        "line 1: <b>odd</b> \\x1b[2J",
        None,
    )


def test_files_that_one_checkpoint_completes_come_in_the_order_of_their_starts(ask, layout):
    life = Life(layout)
    for number in range(3):
        job = life.train(f"{number}.jsonl", 1)
        life.ledger._database.write("UPDATE jobs SET began = ? WHERE id = ?", (10 - number, job.id))
    life.close()

    pages, after = [], ""
    while after is not None:
        page = past(ask, limit=1, after=after)
        pages += names(page)
        after = page["next"]

    assert pages == ["0.jsonl", "1.jsonl", "2.jsonl"]


@pytest.mark.parametrize(
    "wanted, found",
    [({"state": "failed"}, 1), ({"search": "CHAT"}, 1), ({"search": "日本"}, 2), ({"search": "none"}, 0)],
)
def test_files_are_found_by_how_they_ended_and_by_name(ask, layout, wanted, found):
    eventful_day(layout)

    assert len(past(ask, **wanted)["files"]) == found


def test_past_files_as_csv_have_whose_weights_were_validated(ask, layout):
    eventful_day(layout)

    answer = ask.get("/api/files", params={"format": "csv", "limit": 1})

    found = {row["name"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert len(found) == 4
    assert (found["chat.jsonl"]["after_loss"], found["chat.jsonl"]["after_weights"]) == ("1.5", "last")


def test_all_that_is_known_of_a_file_is_one_document(ask, layout):
    eventful_day(layout)

    found = ask.get("/api/file", params={"file": EVIL}).json()

    assert (found["state"], found["job"]["state"]) == ("failed", "failed")
    assert found["place"].startswith("queue/failed/")
    assert ask.get("/api/file", params={"file": found["job"]["id"]}).json() == found
    assert ask.get("/api/file", params={"file": "../../etc/passwd"}).status_code == 404
    assert ask.get("/api/file/events", params={"file": EVIL, "format": "csv"}).text.startswith("id,at,level")


def test_a_report_is_read_and_its_absence_said(ask, layout):
    life = Life(layout)
    job = life.train("chat.jsonl", 1)
    life.close()
    assert ask.get("/api/file/report", params={"file": "chat.jsonl"}).status_code == 404

    report = DataReport(
        file="chat.jsonl", sha256=job.sha256, job_id=job.id, validation="standard", rows=2, rejected_rows=0,
        sampled_rows=2, max_length=8, tokens=None, over_max_length=0.0, supervised_share=0.5,
        rows_without_target=0, duplicate_rows=0, classes={},
        findings=(Finding(rule="odd", level="warning", message="<b>odd</b>", rows=1, share=0.5, lines=(2,)),),
    )  # fmt: skip
    path = report_file(layout, job.id)
    path.parent.mkdir(exist_ok=True)
    write_json(path, report.model_dump(mode="json"), durable=False)

    found = ask.get("/api/file/report", params={"file": "chat.jsonl"}).json()
    assert found["findings"][0]["lines"] == [2]


@pytest.fixture
def rejected(layout):
    """A failed file with five rejected rows, of which one is long and one holds evil."""
    write_jsonl(layout.failed / "bad.jsonl", rows(1))
    lines = [
        {"line": number, "reason": f"why {number}\x1b", "row": f"row {number}"} for number in range(1, 6)
    ]
    lines[0] |= {"sha256": "0" * 64, "row": "<script>alert(1)</script>\n\u202e"}
    lines[4]["row"] = "x" * 5_000
    (layout.failed / "bad.jsonl.rejected.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )


def test_rejected_rows_come_page_by_page(ask, rejected):
    first = ask.get("/api/file/rejected", params={"file": "bad.jsonl", "limit": 2}).json()
    rest = ask.get("/api/file/rejected", params={"file": "bad.jsonl", "after": first["next"]}).json()

    assert first["rows"][0] == {
        "line": 1,
        "reason": "why 1\\x1b",
        "row": "<script>alert(1)</script>\n\u202e",
        "is_cut": False,
    }
    assert [row["line"] for row in rest["rows"]] == [3, 4, 5]
    assert (len(rest["rows"][2]["row"]), rest["rows"][2]["is_cut"], rest["next"]) == (4_000, True, None)
    text = ask.get("/api/file/rejected", params={"file": "bad.jsonl", "limit": 2, "format": "csv"}).text
    assert [row["line"] for row in csv.DictReader(io.StringIO(text))] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("after", [1, 10**9])
def test_a_page_that_nobody_offered_is_no_crash(ask, rejected, after):
    answer = ask.get("/api/file/rejected", params={"file": "bad.jsonl", "after": after})

    assert answer.status_code in (200, 422)


def test_lengths_are_counted_in_powers_of_two(ask, layout, monkeypatch):
    path = layout.waiting(Priority.NORMAL) / "a.jsonl"
    path.write_bytes(b"x\n\n" + 3 * (b"x" * 9 + b"\n") + b"x" * 2_000_000 + b"\n")

    found = ask.get("/api/file/lengths", params={"file": "a.jsonl"}).json()

    assert (found["rows"], found["is_whole"]) == (5, True)
    assert found["buckets"] == [
        {"from_bytes": 2, "to_bytes": 3, "rows": 1},
        {"from_bytes": 8, "to_bytes": 15, "rows": 3},
        {"from_bytes": 524288, "to_bytes": 1048575, "rows": 1},
    ]
    monkeypatch.setattr("daemon.client.row_lengths.MOST_ROWS", 2)
    assert ask.get("/api/file/lengths", params={"file": "a.jsonl"}).json()["is_whole"] is False


def shown(text):
    token = ShownToken(id=1, text=text, trained=True, turn=0)
    example = ShownExample(tokens=(token,), supervised_tokens=1, turns=(0,), cut_tokens=0, is_truncated=False)
    return Shown(
        file="/somewhere", row=1, max_length=8, overlong="split", train_on="assistant", row_tokens=1,
        examples=(example,), missing_turns=(),
    )  # fmt: skip


def test_a_row_is_rendered_by_another_process_and_names_no_folder(ask, layout, answering):
    write_jsonl(layout.finished(Outcome.COMPLETED) / "chat.jsonl", [ROW])
    answering.prepare(shown("<b>").model_dump_json())

    found = ask.get("/api/file/row", params={"file": "chat.jsonl", "line": 1}).json()

    assert (found["file"], found["examples"][0]["tokens"][0]["text"]) == ("chat.jsonl", "<b>")
    assert (answering.module, answering.order["row"]) == ("trainer.mains.show_row", 1)


def test_only_one_row_is_rendered_at_a_time(ask, app_client, layout):
    write_jsonl(layout.finished(Outcome.COMPLETED) / "chat.jsonl", [ROW])

    with app_client.data._rendering:
        answer = ask.get("/api/file/row", params={"file": "chat.jsonl", "line": 1})

    assert answer.status_code == 429
    assert "one at a time" in answer.json()["error"]


def test_a_process_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    import sys

    from trainer.protocol import one_shot

    monkeypatch.setattr(
        one_shot, "command_of", lambda module: [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    )
    with pytest.raises(HelperFailed, match=r"took longer than 0\.1 s, and was ended"):
        ask_process("x", ShowOrder(file="", row=1, settings={}, base=""), Shown, timeout_s=0.1, niceness=1)


def test_a_file_that_is_gone_has_no_rows(ask, layout):
    life = Life(layout)
    life.train("chat.jsonl", 1)
    life.close()
    (layout.finished(Outcome.COMPLETED) / "chat.jsonl").unlink()

    answer = ask.get("/api/file/row", params={"file": "chat.jsonl", "line": 1})

    assert answer.status_code == 404
    assert "its file is gone" in answer.json()["error"]


def test_rows_are_flagged_and_listed(ask, layout):
    write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", [ROW])

    body = {"file": "queue/high/chat.jsonl", "line": 1, "note": "odd\x1b"}
    assert ask.post("/api/file/flag", json=body).status_code == 200

    [flag] = ask.get("/api/flags", params={"file": "high/chat.jsonl"}).json()
    assert (flag["line"], flag["note"]) == (1, "odd\\x1b")
    assert ask.get("/api/flags", params={"file": "high/other.jsonl"}).json() == []
    assert ask.post("/api/file/flag", json=body | {"line": 9}).status_code == 404


def test_requests_do_not_wait_for_one_that_takes_long(ask, app_client, layout, monkeypatch):
    """A row that is being rendered holds a thread of its own, not the page."""
    write_jsonl(layout.finished(Outcome.COMPLETED) / "chat.jsonl", [ROW])
    began, may_end = threading.Event(), threading.Event()

    def render(*arguments, **options):
        began.set()
        may_end.wait(10)
        return shown("late")

    monkeypatch.setattr("daemon.client.helper_process.ask", render)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(ask.get("/api/file/row", params={"file": "chat.jsonl", "line": 1}))
    )
    asking.start()
    assert began.wait(10)

    assert ask.get("/api/queue").status_code == 200

    may_end.set()
    asking.join(10)
    assert answers[0].status_code == 200
