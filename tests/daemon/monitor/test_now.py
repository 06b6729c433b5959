"""The API of the page Now: who asks, curves, marks, memory, previews, and what is left to be trained."""

import csv
import io

import pytest

from daemon.ledger.ledger import Ledger
from daemon.monitor.memory import memory_now
from daemon.status.reader import Status
from tests.daemon.client.test_history import add_job, add_steps
from tests.daemon.monitor.conftest import TOKENS
from tests.support import FakeClock
from trainer.protocol.messages import PreviewMade


@pytest.fixture
def ledger(layout):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    yield ledger
    ledger.close()


@pytest.mark.parametrize("scope", ["read", "control"])
def test_a_link_says_what_it_allows(ask, scope):
    headers = {"Authorization": f"Bearer {getattr(TOKENS, scope)}"}

    assert ask.get("/api/me", headers=headers).json() == {"scope": scope}


def test_a_curve_is_read_as_a_document_and_as_a_table(ask, ledger):
    add_steps(ledger, [3.0, None, 1.0])

    found = ask.get("/api/curves/loss", params={"x": "tokens"}).json()
    table = ask.get("/api/curves/loss", params={"x": "tokens", "format": "csv"})

    assert (found["x"], found["mean"], found["not_finite"]) == ([10, 20, 30], [3.0, None, 1.0], [0, 1, 0])
    assert table.headers["content-disposition"] == 'attachment; filename="loss-over-tokens.csv"'
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["x"], row["mean"]) for row in rows] == [("10.0", "3.0"), ("20.0", ""), ("30.0", "1.0")]


@pytest.mark.parametrize("points", [1, 7, 2000])
def test_a_curve_has_no_more_points_than_wanted(ask, ledger, points):
    add_steps(ledger, [1.0] * 3000)

    found = ask.get("/api/curves/grad_norm", params={"points": points}).json()

    assert len(found["x"]) <= points
    assert sum(found["steps"]) == 3000


@pytest.mark.parametrize(
    "path, status",
    [
        ("/api/curves/loss?points=2001", 400),
        ("/api/curves/loss?x=moon", 400),
        ("/api/curves/beauty", 400),
        ("/api/curves/loss?first=-1", 400),
        ("/api/curves/loss?first=99999999999999999999", 400),
        ("/api/curves/loss?file=../../etc/passwd", 404),
        ("/api/trained?first=1", 400),
        ("/api/previews?limit=0", 400),
    ],
)
def test_what_is_not_offered_is_refused(ask, ledger, path, status):
    assert ask.get(path).status_code == status


def test_marks_and_rows_of_steps_name_the_files(ask, layout, ledger):
    job = add_job(ledger, layout, 1)
    add_steps(ledger, [2.0, 1.0], job_id=job.id)

    assert [mark["file"] for mark in ask.get("/api/marks").json()["files"]] == ["1.jsonl"]
    [row] = ask.get("/api/trained", params={"first": 2, "last": 2}).json()["rows"]
    assert (row["file"], row["first_file_step"], row["first_row"]) == ("1.jsonl", 2, 2)


def test_previews_show_how_an_answer_has_changed(ask, ledger):
    for number, text in enumerate(["a", "a", "<b>", "a"], start=1):
        made = PreviewMade(global_step=number, prompt="p", text=text, ended_by="end", seconds=0.1)
        ledger.evaluations.add_preview(made)
    ledger.commit()

    [newest] = ask.get("/api/previews").json()
    texts = ask.get("/api/previews/texts", params={"prompt": "p", "limit": 2}).json()

    assert (newest["text"], newest["unchanged_since"], newest["before"]) == ("a", 4, "<b>")
    assert [(one["text"], one["first_step"], one["last_step"]) for one in texts] == [
        ("a", 4, 4),
        ("<b>", 3, 3),
    ]


def test_what_waits_is_counted_and_its_time_is_known_only_while_something_is_trained(ask, layout, ledger):
    add_job(ledger, layout, 1)
    add_job(ledger, layout, 2)

    assert ask.get("/api/outlook").json() == {
        "waiting_files": 2, "waiting_rows": 4, "file_s": None, "queue_s": None
    }  # fmt: skip


def test_memory_is_said_in_gb_under_plain_names(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       32000000 kB\nMemFree: 1 kB\n")
    fields = {
        "memory": {
            "daemon_rss_bytes": 5 * 10**7,
            "worker_rss_bytes": 2 * 10**9,
            "system_available_bytes": 12_768_000_000,
        },
        "gpus": [{"name": "G", "total_bytes": 8 * 10**9, "used_bytes": 3 * 10**9}] * 2,
    }

    found = memory_now(Status(fields, "running", 0.0), meminfo=meminfo)
    of_the_dead = memory_now(Status(fields, "dead", 0.0), meminfo=meminfo)

    assert (found.ram_total_gb, found.ram_used_gb, found.ram_free_gb) == (32.768, 20.0, 12.768)
    assert (found.gpu_total_gb, found.gpu_used_gb, found.gpu_free_gb) == (16.0, 6.0, 10.0)
    assert (found.process_gb, found.daemon_process_gb, found.worker_process_gb) == (2.05, 0.05, 2.0)
    assert (of_the_dead.ram_total_gb, of_the_dead.ram_free_gb, of_the_dead.gpu_total_gb) == (
        32.768,
        None,
        None,
    )
