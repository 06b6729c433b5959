"""Send rows to MLflow: its server, its database, or its files.

Numbers are metrics. Notes, settings and answers are tags, because MLflow has no list that grows: notes have a
number, and an answer replaces the one before it. Sending a tag again changes nothing, and which metrics are
there is asked.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.tracking.rows import Row, Run
from daemon.tracking.tracker import NotSent, missing_package
from trainer.protocol.masking import masked, without_secrets

METRICS_AT_ONCE, TAGS_AT_ONCE = 1_000, 100  # as many as a server takes in one request
VALUE_CHARACTERS = 5_000
TIMEOUT_S = 30
RUN_TAG = "training.run"


class Mlflow:
    """Writes runs of one experiment.

    Args:
        uri: of a server or a database; None for files in `folder`.
    Raises:
        UnusableTracker: the package is not installed.
    """

    def __init__(self, uri: str | None, folder: Path, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the follower tries again
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow.entities import Metric, RunTag
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise missing_package("mlflow-skinny", "mlflow", "mlflow") from error
        self._metric, self._tag, self._client_class = Metric, RunTag, MlflowClient
        self._uri = uri or folder.absolute().as_uri()
        self._experiment = experiment
        self._client: Any = None
        self._run_id = ""
        self._confirmed = 0

    def open(self, run: Run) -> None:
        """Find the run by its tag, or create it."""
        self._confirmed = 0
        with self._noticing_failure():
            self._client = self._client_class(self._uri)
            experiment = self._client.get_experiment_by_name(self._experiment)
            id = experiment.experiment_id if experiment else self._client.create_experiment(self._experiment)
            found = self._client.search_runs([id], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
            if found:
                self._run_id = found[0].info.run_id
                return
            tags = {RUN_TAG: run.id, "training.lineage": run.lineage, "mlflow.runName": run.name}
            if run.from_run:
                parent = self._client.search_runs([id], f"tags.`{RUN_TAG}` = '{run.from_run}'", max_results=1)
                tags |= {"training.from_step": str(run.from_step)}
                tags |= {"mlflow.parentRunId": parent[0].info.run_id} if parent else {}
            self._run_id = self._client.create_run(id, tags=tags).info.run_id

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of which some number is not there; each with those numbers only."""
        names = {metric_name(name) for row in rows for name in row.values}
        with self._noticing_failure():
            there = {
                (name, metric.step, metric.timestamp)
                for name in names
                for metric in self._client.get_metric_history(self._run_id, name)
            }
        left = []
        for row in rows:
            values = {
                name: value
                for name, value in row.values.items()
                if (metric_name(name), row.step, _milliseconds(row)) not in there
            }
            if values or row.kind != "metrics":
                left.append(Row(**{**vars(row), "values": values}))
        self._confirmed = max((row.number for row in rows if row not in left), default=0)
        return left

    def send(self, rows: Sequence[Row]) -> None:
        """Log metrics and tags, in requests of the size that servers take."""
        metrics = [
            self._metric(metric_name(name), value, _milliseconds(row), row.step)
            for row in rows
            for name, value in row.values.items()
        ]
        tags = [self._tag(*_tag_of(row)) for row in rows if row.kind != "metrics"]
        with self._noticing_failure():
            for start in range(0, len(metrics), METRICS_AT_ONCE):
                self._client.log_batch(self._run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
            for start in range(0, len(tags), TAGS_AT_ONCE):
                self._client.log_batch(self._run_id, tags=tags[start : start + TAGS_AT_ONCE])
        self._confirmed = max([self._confirmed, *(row.number for row in rows)])

    def confirmed(self) -> int:
        """Return the number of the last row that the store has answered for."""
        return self._confirmed

    def close(self) -> None:
        """Leave the run as it is: the next process continues it."""
        self._client = None

    @contextmanager
    def _noticing_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the library wraps whatever its stores raise, and not always
            said = without_secrets(str(error), self._uri)
            raise NotSent(f"MLflow at {masked(self._uri)}: {said}") from None


def metric_name(name: str) -> str:
    """Return a name as MLflow takes it: of letters, digits, and _ - . / or space."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def _milliseconds(row: Row) -> int:
    return round(row.at * 1000)


def _tag_of(row: Row) -> tuple[str, str]:
    text = f"step {row.step}: {row.text}"[:VALUE_CHARACTERS]
    match row.kind:
        case "answer":
            mark = hashlib.sha256(row.name.encode("utf-8", "replace")).hexdigest()[:8]
            return f"preview.{mark}", f"{row.name[:1000]} → {text}"[:VALUE_CHARACTERS]
        case "settings":
            return "settings", text
        case _ if row.name == "checkpoint":
            return "checkpoint", text  # the newest one: there are too many for a tag each
        case _:
            return f"note.{row.number:08d}", text
