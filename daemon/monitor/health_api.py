"""The API of the pages Health and Settings: checks, crashes, the log, the settings in force."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.client.errors import NoLog
from daemon.monitor.endpoints import Api
from daemon.monitor.looking import Looks

if TYPE_CHECKING:
    from daemon.client.results import CheckResult, CrashGroup, DescribedSetting, Diagnosis, LogEntry

MOST_ENTRIES = 1_000

api = Api()
_looks = Looks()

Count = Annotated[int, Field(ge=1, le=MOST_ENTRIES)]


@api.get("/api/health")
def health(client: Client) -> "Annotated[Response, list[CheckResult]]":
    """How each part of the working directory is, and what to do: as `training_health check --json`."""
    return _looks.of("health", client.layout.base)


@api.get("/api/diagnosis")
def diagnosis(client: Client) -> "Annotated[Response, Diagnosis]":
    """What ails the training so far, and what was examined: as `training_health diagnose --json`."""
    return _looks.of("diagnosis", client.layout.base)


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
def settings(client: Client) -> "Annotated[Response, list[DescribedSetting]]":
    """Every setting: its value, where it comes from, whether it may change, and how."""
    return _looks.of("settings", client.layout.base)


@api.get("/api/settings/remarks")
def remarks(client: Client) -> "Annotated[Response, list[str]]":
    """What should be known of the settings in force, such as files they name that are not there."""
    return _looks.of("remarks", client.layout.base)
