"""What Prometheus reads: the status in base units, without a word of a user's."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.monitor.metrics import COUNTERS, GAUGES
from tests.daemon.monitor.conftest import TOKENS
from trainer.protocol.status import DiskSpace, Gpu, LastCheckpoint, Memory, State, TrainingStatus

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana-dashboard.json"
EVIL = 'evil"} 1\nname{x="</script>.jsonl'
GIB = 2**30


@pytest.fixture
def status(layout):
    """As a daemon that is gone has left it, so that nobody needs to run."""
    status = TrainingStatus(
        status=State.TRAINING,
        status_reason=EVIL,
        heartbeat_at="2026-01-01T00:00:00+00:00",
        daemon_pid=None,
        current_file=EVIL,
        current_step=500,
        tokens_seen=10_000,
        samples_seen=200,
        file_step=3,
        file_total_steps=9,
        loss=1.25,
        learning_rate=1e-4,
        grad_norm=0.5,
        validation_loss=1.5,
        tokens_per_sec=4_000.0,
        samples_per_sec=20.0,
        eta_s=60.0,
        last_checkpoint=LastCheckpoint(path="x", step=400, at="2026-01-01T00:00:00+00:00"),
        disk=DiskSpace(used_bytes=GIB, free_bytes=2 * GIB, growth_bytes_per_hour=1.0, full_in_s=7.0),
        memory=Memory(daemon_rss_bytes=1, worker_rss_bytes=2, system_available_bytes=3),
        gpus=[Gpu(name=EVIL, used_bytes=GIB, total_bytes=4 * GIB, utilization_percent=50, temperature_c=60)],
        alerts=[EVIL],
    )
    layout.status_file.write_text(status.model_dump_json())
    (layout.failed / "a.jsonl").touch()  # counted anew where no daemon runs
    return status


def scraped(ask):
    answer = ask.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    return {family.name: family for family in families}


def test_every_number_of_the_status_is_there(ask, status):
    found = scraped(ask)

    assert {name for name, _, _ in (*GAUGES, *COUNTERS)} <= found.keys() | {"training_disk_full_seconds"}
    [steps] = found["training_steps"].samples
    assert (steps.name, steps.value) == ("training_steps_total", 500)
    folders = {sample.labels["folder"]: sample.value for sample in found["training_queue_files"].samples}
    assert (folders["failed"], folders["high"]) == (1, 0)
    [ratio] = found["training_gpu_utilization_ratio"].samples
    assert (ratio.labels, ratio.value) == ({"gpu": "0"}, 0.5)


def test_no_label_holds_what_a_user_has_named(ask, status):
    assert "evil" not in ask.get("/metrics").text


def test_a_daemon_that_is_gone_is_down_and_stopped(ask, status):
    found = scraped(ask)

    assert found["training_daemon_up"].samples[0].value == 0
    state = {sample.labels["training_state"]: sample.value for sample in found["training_state"].samples}
    assert state["stopped"] == 1
    assert sum(state.values()) == 1


def test_without_a_daemon_ever_there_is_little_to_say(ask):
    assert scraped(ask)["training_daemon_up"].samples[0].value == 0


def test_the_dashboard_asks_for_metrics_that_there_are(ask, status):
    known = {sample.name for family in scraped(ask).values() for sample in family.samples}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]

    asked = {
        name for text in expressions for name in re.findall(r"\btraining_\w+", re.sub(r"\{.*?\}", "", text))
    }

    assert len(panels) > 10
    assert asked <= known


def test_prometheus_needs_a_token(app):
    from starlette.testclient import TestClient

    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKENS.read}"}).status_code == 200
