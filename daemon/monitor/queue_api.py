"""The API of the page Queue: the folders page by page, and what can be done to their files."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.monitor.endpoints import Api, csv_response
from trainer.protocol.places import Outcome, Priority

if TYPE_CHECKING:
    from daemon.client.results import ActOnFile, Cleared, ListedFile, QueuePage

MOST_FILES = 1_000
PAGE = 100
NAME_LENGTH = 4_000
COLUMNS = ("place", "name", "state", "priority", "bytes", "rows", "format", "job", "at", "reason")

api = Api()

Folder = Literal[
    "inbox", "high", "normal", "low", "processing", "failed", "skipped", "recently_completed", "trash"
]
Limit = Annotated[int, Field(ge=1, le=MOST_FILES)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
Act = Literal["priority", "retry", "admit", "remove", "clear"]


class ActOnFiles(BaseModel):
    """What is to be done to which files."""

    model_config = ConfigDict(extra="forbid")

    act: Act
    files: Annotated[list[Name], Field(min_length=1, max_length=MOST_FILES)]
    """Their folders and names, as a list of the queue shows them."""
    priority: Priority | None = None
    """With which they are to wait; null keeps that of files that are put back."""


class ClearAll(BaseModel):
    """Which files are to be moved to the trash."""

    model_config = ConfigDict(extra="forbid")

    outcome: Literal["failed", "skipped"]
    older_than_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Only those that have been there for so many seconds."""


class Nothing(BaseModel):
    """A request that needs no more words."""

    model_config = ConfigDict(extra="forbid")


@api.get("/api/queue")
def queue_counts(client: Client) -> dict[str, int]:
    """How many files each folder of the queue has, the inbox and the trash among them."""
    return {place.value: number for place, number in client.queue_pages.counts().items()}


@api.get("/api/queue/files")
def queue_files(
    client: Client,
    folder: Folder,
    after: str = "",
    limit: Limit = PAGE,
    search: str = "",
    format: Literal["json", "csv"] = "json",
) -> "QueuePage | Response":
    """Some of the files in a folder of the queue, in their order; as CSV, all of them."""
    from daemon.client.queue_pages import QueueFolder

    place = QueueFolder(folder)

    def page(after: str, limit: int) -> "QueuePage":
        return client.queue_pages.page(place, after=after, limit=limit, search=search)

    if format == "json":
        return page(after, limit)
    first = page(after, MOST_FILES)
    rows = ([getattr(file, name) for name in COLUMNS] for file in _all_files(first, page))
    return csv_response(COLUMNS, rows, name=f"queue-{folder}")


def _all_files(page: "QueuePage", read: "Callable[[str, int], QueuePage]") -> "Iterator[ListedFile]":
    yield from page.files
    while page.next is not None:
        page = read(page.next, MOST_FILES)
        yield from page.files


@api.post("/api/queue/act")
def act_on_files(client: Client, body: ActOnFiles) -> "list[ActOnFile]":
    """Set the priority of files, retry, admit or remove them, or clear them away; one result for each."""
    from daemon.client.queue_acts import QueueAct, act_on_each

    return act_on_each(client.queue, QueueAct(body.act), body.files, priority=body.priority)


@api.post("/api/queue/retry-failed")
def retry_all_failed(client: Client, body: Nothing) -> list[str]:
    """Put every file back that failed; the answer is their names then."""
    return client.queue.retry_failed()


@api.post("/api/queue/clear")
def clear_all(client: Client, body: ClearAll) -> "Cleared":
    """Move all files that failed, or all that were skipped, to the trash, with their notes."""
    return client.queue.clear(Outcome(body.outcome), older_than_s=body.older_than_s)
