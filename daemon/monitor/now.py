"""The API of the page Now: the status, and the requests of the controller."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from daemon.client.client import Client
from daemon.monitor.endpoints import Api
from daemon.monitor.memory import MemoryNow, memory_now
from daemon.monitor.tokens import Scope
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import Obeyed, Outlook, PreviewHistory, PreviewText

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


@dataclass(frozen=True)
class Me:
    """Who asks."""

    scope: Scope
    """What that link, or token, allows: to read, or to control, too."""


@api.get("/api/me")
def me(client: Client, allowed: Scope) -> Me:
    """What the sender of the request may do."""
    return Me(allowed)


@api.get("/api/outlook")
def outlook(client: Client) -> "Outlook":
    """How much waits in the queue, and how long all of it will probably take."""
    return client.queue.outlook(client.status())


@api.get("/api/memory")
def memory(client: Client) -> MemoryNow:
    """What the machine, its GPUs and our processes use, in GB."""
    return memory_now(client.status())


@api.get("/api/previews")
def previews(client: Client, limit: Annotated[int, Field(ge=1, le=1000)] = 100) -> "list[PreviewHistory]":
    """What the model answers to each fixed prompt, the one answered last first."""
    return client.history.previews()[:limit]


@api.get("/api/previews/texts")
def preview_texts(
    client: Client, prompt: str, limit: Annotated[int, Field(ge=1, le=1000)] = 20
) -> "list[PreviewText]":
    """The newest texts that one prompt was answered with, and at which steps, the newest first."""
    return client.history.preview_texts(prompt, limit=limit)


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
