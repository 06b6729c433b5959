"""The command training_models forget: what it says when it is interrupted."""

import os

import pytest

from daemon.cli.training_models import app
from daemon.client.forget import Forgets
from daemon.files.identity import identity_of
from daemon.status.board import StatusBoard
from tests.daemon.cli.runner import runner_of
from tests.support import job_for, rows, write_jsonl
from trainer.protocol.job import Outcome

run = runner_of(app)


@pytest.mark.parametrize(
    "is_running, said",
    [
        (True, "the daemon continues to forget a.jsonl; training_controller status shows how far it is\n"),
        (False, "a.jsonl is not forgotten yet; asked again, it continues at its last checkpoint\n"),
    ],
)
def test_after_ctrl_c_it_says_what_continues(layout, ledger, monkeypatch, is_running, said):
    path = write_jsonl(layout.finished(Outcome.COMPLETED) / "a.jsonl", rows(1))
    ledger.add_job(job_for(path, id="1"), identity_of(path.stat()), "completed")
    ledger.commit()
    if is_running:
        StatusBoard(layout.status_file, daemon_pid=os.getpid()).publish()

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(Forgets, "carry_out", interrupt)

    result = run(layout, "forget", "a.jsonl", "--yes")

    assert result.exit_code == 130
    assert result.stdout.startswith("to be forgotten: a.jsonl (")
    assert result.stderr == said
