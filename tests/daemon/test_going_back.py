"""What is ordered when the model goes back is planned by all that was trained."""

import threading

import pytest

from daemon import going_back
from daemon.control.control_files import Request
from daemon.files.identity import Identity
from daemon.going_back import GoingBack
from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from tests.daemon.ledger.entries import step
from tests.health import publish
from tests.support import PATIENCE_S, FakeClock
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import JobFate
from trainer.protocol.one_shot import NoAnswer


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    for number, trained in ((1, 1), (2, 2)):
        publish(layout, number, step=trained)
    return layout


def test_steps_that_the_ledger_has_not_committed_yet_are_undone_as_well(layout, monkeypatch):
    ledger = Ledger(layout.ledger_file, clock=FakeClock())
    journal = Journal([])
    follow = FollowBranches(layout.models, JobQueue(layout, ledger, journal), ledger, journal)
    orders, is_asked = [], threading.Event()

    def ask(module, order, answer_type):
        orders.append(order)
        raise NoAnswer(-9)

    monkeypatch.setattr(going_back.one_shot, "ask", ask)
    for number in (1, 2):
        job = Job(
            id=f"job-{number}", name="a.jsonl", priority=Priority.LOW, sha256="1" * 64, rows=1, size_bytes=1
        )
        ledger.add_job(job, Identity(device=1, inode=number, size=1, mtime_ns=1), "completed")
    ledger.add_steps([step(1, job_id="job-1", file_step=1)])
    ledger.commit()
    ledger.add_steps([step(2, job_id="job-2", file_step=1)])
    back = GoingBack(layout, follow, journal, before=ledger.commit, on_result=is_asked.set)

    path = layout.control / ".go_back"
    back.ask(Request(name="go_back", path=path, written_at=0, target="checkpoints/step-000000001-1"))
    back.advance()

    assert is_asked.wait(PATIENCE_S)
    assert [order.jobs for order in orders] == [(JobFate(job_id="job-2", fate="undone"),)]
    ledger.close()
