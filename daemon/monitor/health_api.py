"""The API of the pages Health and Settings: checks, crashes, the log, the settings in force."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from daemon.client.client import Client
from daemon.client.errors import NoLog
from daemon.monitor.diagnosing import Diagnoses
from daemon.monitor.endpoints import Api

if TYPE_CHECKING:
    from daemon.client.results import CheckResult, CrashGroup, DescribedSetting, Diagnosis, LogEntry

MOST_ENTRIES = 1_000

api = Api()
_diagnoses = Diagnoses()

Count = Annotated[int, Field(ge=1, le=MOST_ENTRIES)]


@api.get("/api/health")
def health(client: Client) -> "list[CheckResult]":
    """How each part of the working directory is, and what to do: as `training_health check --json`."""
    return client.health.check()


@api.get("/api/diagnosis")
def diagnosis(client: Client) -> "Diagnosis":
    """What ails the training so far, and what was examined: as `training_health diagnose --json`."""
    return _diagnoses.of(client.layout.base)


@api.get("/api/crashes")
def crashes(client: Client, limit: Count = 200) -> "list[CrashGroup]":
    """The newest crashes by kind, and ends that blocked training."""
    return client.history.crashes(limit=limit)


@api.get("/api/logs")
def logs(client: Client, count: Count = 200, file: str | None = None) -> "list[LogEntry]":
    """The newest entries of the log, oldest first; of one file, or all of them."""
    try:
        return client.logs.last(count, about=file)
    except NoLog:
        return []


@api.get("/api/settings")
def settings(client: Client) -> "list[DescribedSetting]":
    """Every setting: its value, where it comes from, whether it may change, and how."""
    return client.settings.described()


@api.get("/api/settings/remarks")
def remarks(client: Client) -> list[str]:
    """What should be known of the settings in force, such as files they name that are not there."""
    effective = client.settings.effective(client.overrides() if client.status().is_running else [])
    return [*client.settings.unusable_names(effective.settings), *client.settings.remarks()]
