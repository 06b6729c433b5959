"""The worker as a process: trains what it is told, saves before it goes, says whose fault an end was."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.nursery import ForkServer, NurseryLauncher
from tests.support import PATIENCE_S, job_for, rows, write_jsonl
from tests.trainer.worker_rig import Worker
from trainer.config.schema import Settings
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.messages import (
    CONNECTION_LOST,
    CheckpointPublished,
    Faulted,
    Heartbeat,
    Leaving,
    LoadModel,
    QueueEmpty,
    ShutDown,
    StartJob,
    StepsTaken,
    WorkerReady,
)

MANY_EPOCHS = 100_000


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "base")
    layout.create()
    return layout


@pytest.fixture
def worker(layout: Layout, nursery: ForkServer) -> Iterator[Worker]:
    """A worker that has loaded torch already."""
    worker = Worker(layout, NurseryLauncher(nursery.address))
    yield worker
    worker.launched.process.signal(signal.SIGKILL)
    worker.launched.process.wait(PATIENCE_S)
    worker.channel.close()


def settings_with(**sections: dict[str, Any]) -> dict[str, Any]:
    training = {"batch_size": 2, "gradient_accumulation": 1, "cpu_threads": 1} | sections.pop("training", {})
    return Settings.model_validate({"training": training, **sections}).model_dump(mode="json")


def manifest_of(layout: Layout) -> dict[str, Any]:
    return json.loads((layout.models / "current_model" / "MANIFEST.json").read_text())


@pytest.mark.loads_torch
def test_a_worker_loads_trains_a_file_publishes_and_leaves(layout, worker):
    path = write_jsonl(layout.processing / "a.jsonl", rows(4))
    settings = settings_with()

    worker.channel.send(LoadModel(settings=settings))
    ready = worker.first(WorkerReady)
    worker.channel.send(StartJob(job=job_for(path), path=str(path), settings=settings))
    worker.channel.send(QueueEmpty())
    published = worker.first(CheckpointPublished)
    worker.channel.send(ShutDown(reason="the test is over"))
    leaving = worker.first(Leaving)

    assert worker.exit_code() == 0
    assert (ready.model_name, ready.global_step, ready.checkpoint) == ("tiny", 0, None)
    assert published.checkpoint.path == "checkpoints/step-000000002"
    assert [record.rows_trained for record in published.finished] == [4]
    assert leaving.reason == "the test is over"
    assert manifest_of(layout)["progress"]["global_step"] == 2
    assert worker.said[0] == Heartbeat(section="loading")


def test_a_worker_whose_daemon_is_gone_saves_where_it_is_and_leaves_by_itself(layout, worker):
    path = write_jsonl(layout.processing / "a.jsonl", rows(4))
    settings = settings_with(training={"epochs": MANY_EPOCHS})
    job = job_for(path)

    worker.channel.send(LoadModel(settings=settings))
    worker.channel.send(StartJob(job=job, path=str(path), settings=settings))
    trained = worker.first(StepsTaken).steps[-1].global_step
    worker.channel.close()

    assert worker.exit_code() == CONNECTION_LOST
    progress = manifest_of(layout)["progress"]
    assert progress["cursors"][job.id]["step"] == progress["global_step"] >= trained
    assert progress["finished"] == []
    assert "exited: the daemon is gone" in (layout.logs / "worker.log").read_text()


def test_a_worker_without_its_base_model_blames_the_environment(layout, worker):
    worker.channel.send(LoadModel(settings=settings_with(model={"base_model": "./gone"})))
    fault = worker.first(Faulted)

    assert worker.exit_code() == 1
    assert (fault.fault, fault.error_class, fault.job_id) == (FaultKind.ENVIRONMENT, "ModelUnavailable", None)
    assert 'model.base_model is "./gone"' in fault.message
    assert "find_base_model" in fault.traceback
    assert "cannot continue" in (layout.logs / "worker.log").read_text()


def test_a_worker_that_hears_what_it_cannot_understand_saves_and_leaves(layout, worker):
    path = write_jsonl(layout.processing / "a.jsonl", rows(4))
    settings = settings_with(training={"epochs": MANY_EPOCHS})

    worker.channel.send(LoadModel(settings=settings))
    worker.channel.send(StartJob(job=job_for(path), path=str(path), settings=settings))
    worker.first(StepsTaken)
    worker.launched.endpoint.sendall(b'{"kind": "of another release"}\n')
    leaving = worker.first(Leaving)

    assert worker.exit_code() == 0
    assert leaving.reason.startswith("the daemon sent something that cannot be understood: ")
    assert manifest_of(layout)["progress"]["global_step"] > 0
