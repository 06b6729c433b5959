"""The API of the page Now: the status, and the requests of the controller."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from daemon.client.client import Client
from daemon.monitor.endpoints import Api
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import Obeyed

ANSWER_WAIT_S = 10.0  # for the daemon; a page shows that it waits

api = Api()


class Why(BaseModel):
    """What may come with a request."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=500)] | None = None
    """For the log and the status."""


class HowToStop(Why):
    """When to stop."""

    now: bool = False
    """At the next step, instead of after the current file."""


@api.get("/api/status")
def status(client: Client) -> dict[str, Any]:
    """What the daemon does, and whether one runs: as `training_controller status --json`."""
    return client.status().document()


@api.post("/api/pause")
def pause(client: Client, body: Why) -> "Obeyed":
    """Hold training at the next step."""
    return client.pause(_clean(body.reason), wait_s=ANSWER_WAIT_S)


@api.post("/api/resume")
def resume(client: Client, body: Why) -> "Obeyed":
    """Continue training, or take a stop back that is still to come."""
    return client.resume(_clean(body.reason), wait_s=ANSWER_WAIT_S)


@api.post("/api/skip")
def skip(client: Client, body: Why) -> "Obeyed":
    """Skip the current file."""
    return client.skip(_clean(body.reason), wait_s=ANSWER_WAIT_S)


@api.post("/api/stop")
def stop(client: Client, body: HowToStop) -> "Obeyed":
    """Stop the daemon, after the current file or at the next step."""
    return client.stop(_clean(body.reason), now=body.now, wait_s=ANSWER_WAIT_S)


def _clean(reason: str | None) -> str | None:
    return printable(reason) if reason else None
