"""The metrics for Prometheus: the status, in base units, computed when they are asked for.

No label holds text of a user's: names of files and reasons would make a new series each, and leak.
"""

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from daemon.client.client import Client
from daemon.client.errors import ClientError
from daemon.monitor.endpoints import Api
from trainer.protocol.status import State

STATES = [state.value for state in State]
FOLDERS = ("high", "normal", "low", "processing", "failed", "skipped", "recently_completed")

# Name, what it says, and the path of its value in the status
GAUGES: tuple[tuple[str, str, str], ...] = (
    ("training_loss", "Training loss of the last step, per supervised token.", "loss"),
    ("training_learning_rate", "Learning rate of the last step.", "learning_rate"),
    ("training_gradient_norm", "L2 norm of the last step's gradient before clipping.", "grad_norm"),
    ("training_validation_loss", "Loss on the validation file, of the preferred weights.", "validation_loss"),
    ("training_tokens_per_second", "Tokens trained per second.", "tokens_per_sec"),
    ("training_rows_per_second", "Rows trained per second.", "samples_per_sec"),
    ("training_file_steps", "Steps that the current file takes in all.", "file_total_steps"),
    ("training_file_step", "Steps of the current file that are taken.", "file_step"),
    ("training_file_remaining_seconds", "Time until the current file is trained, as estimated.", "eta_s"),
    ("training_daemon_resident_bytes", "Memory of the daemon.", "memory.daemon_rss_bytes"),
    ("training_worker_resident_bytes", "Memory of the worker.", "memory.worker_rss_bytes"),
    (
        "training_system_available_bytes",
        "Memory that programs can still get.",
        "memory.system_available_bytes",
    ),
    ("training_disk_used_bytes", "Disk space that the working directory takes.", "disk.used_bytes"),
    ("training_disk_free_bytes", "Disk space that is free.", "disk.free_bytes"),
    ("training_disk_full_seconds", "Time until the disk is full, as estimated.", "disk.full_in_s"),
    ("training_checkpoint_step", "Step of the newest checkpoint.", "last_checkpoint.step"),
)
COUNTERS: tuple[tuple[str, str, str], ...] = (
    # They fall when the model goes back, which Prometheus takes for a restart
    ("training_steps", "Optimizer steps in the model's life.", "current_step"),
    ("training_tokens", "Tokens that the model was trained on.", "tokens_seen"),
    ("training_rows", "Rows that the model was trained on.", "samples_seen"),
)

api = Api()


@api.get("/metrics")
def metrics(client: Client) -> Response:
    """What Prometheus scrapes; give it a token as `authorization: credentials`."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Status(client))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Status:
    """Collects from the status as it is now."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def collect(self) -> "Iterator[Any]":
        """Yield the metrics; what the status does not say is left out."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            StateSetMetricFamily,
        )

        try:
            status = self._client.status()
        except ClientError:
            yield GaugeMetricFamily("training_daemon_up", "1 if a daemon runs and keeps its status.", value=0)
            return
        fields = status.fields
        yield GaugeMetricFamily(
            "training_daemon_up", "1 if a daemon runs and keeps its status.", value=int(status.is_running)
        )
        if fields:
            yield GaugeMetricFamily(
                "training_heartbeat_age_seconds", "Time since the status was written.", value=status.age_s
            )
        state = StateSetMetricFamily("training_state", "What the daemon does.", labels=[])
        now = fields.get("status") if status.is_running else State.STOPPED.value
        state.add_metric([], {name: name == now for name in STATES})
        yield state
        yield from self._of_status(fields, GaugeMetricFamily, CounterMetricFamily)

    def _of_status(self, fields: dict[str, Any], gauge: Any, counter: Any) -> Iterator[Any]:
        for kind, known in ((gauge, GAUGES), (counter, COUNTERS)):
            for name, words, path in known:
                if (value := _at(fields, path)) is not None:
                    yield kind(name, words, value=value)
        files = gauge("training_queue_files", "Files in each folder of the queue.", labels=["folder"])
        for folder in FOLDERS:
            if (number := _at(fields, f"queue.{folder}")) is not None:
                files.add_metric([folder], number)
        yield files
        yield gauge("training_alerts", "Alerts that the status shows.", value=len(fields.get("alerts") or ()))
        yield from _of_gpus(fields, gauge)


def _of_gpus(fields: dict[str, Any], gauge: Any) -> Iterator[Any]:
    gpus = fields.get("gpus") or []
    for name, words, key, factor in (
        ("training_gpu_used_bytes", "GPU memory in use.", "used_bytes", 1),
        ("training_gpu_total_bytes", "GPU memory.", "total_bytes", 1),
        (
            "training_gpu_utilization_ratio",
            "Share of time in which the GPU computes.",
            "utilization_percent",
            0.01,
        ),
        ("training_gpu_temperature_celsius", "Temperature of the GPU.", "temperature_c", 1),
    ):
        family = gauge(name, words, labels=["gpu"])
        for number, gpu in enumerate(gpus):
            if (value := gpu.get(key)) is not None:
                family.add_metric([str(number)], value * factor)
        if gpus:
            yield family


def _at(fields: dict[str, Any], path: str) -> float | None:
    """Return the number at a path of names, or None."""
    value: Any = fields
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None
