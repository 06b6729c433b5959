"""MLflow's own client finds each step once, also after kills, and when its server is away."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from daemon.tracking.outbox import read_outbox
from daemon.tracking.to_mlflow import Mlflow, metric_name
from tests.daemon.tracking.life import Kill, crash, evaluate, follow, go_back, train

pytestmark = pytest.mark.long


@pytest.fixture
def folder(layout):
    return layout.base / "logs" / "mlflow"


@pytest.fixture
def tracker(folder):
    return Mlflow(None, folder, "training")


def client(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(folder.as_uri())


def runs(folder):
    """Return the runs, oldest first."""
    found = client(folder)
    [experiment] = [e for e in found.search_experiments() if e.name == "training"]
    return found.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def history(folder, name="train/loss", run=0):
    id = runs(folder)[run].info.run_id
    return sorted((m.step, m.value) for m in client(folder).get_metric_history(id, name))


def test_steps_evaluations_and_notes_are_what_mlflow_reads(layout, ledger, tracker, folder):
    ledger.add_event("started", "training a.jsonl", "1", {"file": "a.jsonl", "first_step": 0})
    train(ledger, 1, 2)
    evaluate(ledger, 2)

    follow(layout, tracker)

    [run] = runs(folder)
    assert history(folder) == [(1, 1.0), (2, 0.5)]
    assert history(folder, "suites/skills/easy/loss") == [(2, 0.25)]
    assert run.info.run_name.startswith("training-")
    tags = [value for tag, value in run.data.tags.items() if not tag.startswith(("mlflow.", "training."))]
    assert sorted(tags) == ["Say hi → step 2: hi 2", "step 1: training a.jsonl"]


def test_what_is_trained_again_is_not_sent_again(layout, ledger, folder):
    train(ledger, 1, 2, 3)
    follow(layout, Mlflow(None, folder, "training"))
    crash(ledger, 1)
    train(ledger, 2, 3, 4)
    follow(layout, Mlflow(None, folder, "training"))

    assert [step for step, _ in history(folder)] == [1, 2, 3, 4]


def test_a_kill_in_the_middle_of_a_batch_repeats_nothing(layout, ledger, tracker, folder, monkeypatch):
    from mlflow.tracking import MlflowClient

    log_batch = MlflowClient.log_batch

    def killed(self, run_id, metrics=(), **others):
        log_batch(self, run_id, metrics=metrics[: len(metrics) // 2])
        raise Kill

    train(ledger, 1, 2, 3, 4)
    monkeypatch.setattr(MlflowClient, "log_batch", killed)
    with pytest.raises(Kill):
        follow(layout, tracker)
    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    follow(layout, Mlflow(None, folder, "training"))

    assert [step for step, _ in history(folder)] == [1, 2, 3, 4]
    assert [step for step, _ in history(folder, "train/learning_rate")] == [1, 2, 3, 4]


def test_a_branch_is_a_run_below_the_first_one(layout, ledger, tracker, folder):
    train(ledger, 1, 2, 3)
    go_back(ledger, 1, to=1, left=3, branches=[])
    train(ledger, 2)

    follow(layout, tracker)

    first, second = runs(folder)
    assert second.data.tags["mlflow.parentRunId"] == first.info.run_id
    assert [step for step, _ in history(folder, run=1)] == [2]


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)

    do_POST = do_GET

    def log_message(self, format, *arguments):
        pass


@pytest.mark.parametrize("is_there", [False, True])
def test_a_server_that_refuses_is_tried_again_without_noting_its_password(
    layout, ledger, is_there, monkeypatch
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    if not is_there:
        server.shutdown()
        server.server_close()
    train(ledger, 1)

    uri = f"http://me:hunter2@127.0.0.1:{server.server_port}"
    waited = follow(layout, Mlflow(uri, layout.logs, "training"), waits=3)

    outbox = read_outbox(layout.status / "tracking" / "tracker.json")
    assert waited == [1, 2, 4, 8]
    assert outbox.problem.startswith("MLflow at http://me:***@127.0.0.1")
    assert "hunter2" not in outbox.problem
    if is_there:
        server.shutdown()
        server.server_close()


def test_names_are_those_that_mlflow_takes():
    assert metric_name("suites/größe & co/loss") == "suites/gr__e _ co/loss"
