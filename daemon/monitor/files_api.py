"""The API of the page Files: what has been trained, and all that is known of one file."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.monitor.endpoints import Api, csv_response
from trainer.protocol.places import Outcome
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import (
        DataReport,
        Flagged,
        KnownFile,
        PastFile,
        PastFiles,
        RecordedEvent,
        RejectedPage,
        RowLengths,
        Shown,
        Validation,
    )

MOST_FILES = 1_000
PAGE = 50
RENDERING_S = 120.0  # for one row, with the time in which the tokenizer is loaded
COLUMNS = (
    *("name", "job", "state", "finished_at", "rows", "rows_trained", "steps", "tokens", "seconds"),
    *("tokens_per_s", "first_loss", "last_loss", "checkpoint", "is_checkpoint_kept", "reason"),
)
OF_VALIDATION = ("before_loss", "before_weights", "after_loss", "after_weights", "validation_change")

api = Api()

Limit = Annotated[int, Field(ge=1, le=MOST_FILES)]
File = Annotated[str, Field(min_length=1, max_length=4_000)]
Line = Annotated[int, Field(ge=1)]
State = Literal["all", "completed", "failed", "skipped"]


class FlagRow(BaseModel):
    """A row that somebody should inspect."""

    model_config = ConfigDict(extra="forbid")

    file: File
    """Its folder and name."""
    line: Line
    note: Annotated[str, Field(max_length=500)] = ""
    """Why."""


@api.get("/api/files")
def past_files(
    client: Client,
    state: State = "all",
    after: str = "",
    limit: Limit = PAGE,
    search: str = "",
    format: Literal["json", "csv"] = "json",
) -> "PastFiles | Response":
    """Files that have ended, the last one first, with what each has brought; as CSV, all of them."""
    states = tuple(Outcome) if state == "all" else (Outcome(state),)

    def page(after: str, limit: int) -> "PastFiles":
        return client.history.past(states=states, after=after, limit=limit, search=search)

    if format == "json":
        return page(after, limit)
    files = _all_files(page(after, MOST_FILES), page)
    return csv_response((*COLUMNS, *OF_VALIDATION), map(_csv_row, files), name="files")


def _all_files(page: "PastFiles", read: "Callable[[str, int], PastFiles]") -> "Iterator[PastFile]":
    yield from page.files
    while page.next is not None:
        page = read(page.next, MOST_FILES)
        yield from page.files


def _csv_row(file: "PastFile") -> list[object]:
    validations = (*_of_validation(file.before), *_of_validation(file.after))
    return [*(getattr(file, name) for name in COLUMNS), *validations, file.validation_change]


def _of_validation(found: "Validation | None") -> tuple[object, object]:
    return (found.loss, found.weights) if found else (None, None)


@api.get("/api/file")
def known_file(client: Client, file: File) -> "KnownFile":
    """All that is known of a file: as `training_queue show --json`."""
    return client.history.file(file)


@api.get("/api/file/events")
def file_events(
    client: Client, file: File, format: Literal["json", "csv"] = "json"
) -> "list[RecordedEvent] | Response":
    """What happened to a file, oldest first; the newest thousand events."""
    job = client.history.file(file).job
    found = list(job.events) if job else []
    if format == "json":
        return found
    columns = ("id", "at", "level", "kind", "message")
    return csv_response(
        columns, ([getattr(event, name) for name in columns] for event in found), name="events"
    )


@api.get("/api/file/report")
def data_report(client: Client, file: File) -> "DataReport":
    """What was found in the rows of a file before it was trained."""
    return client.data.report(file)


@api.get("/api/file/rejected")
def rejected_rows(
    client: Client,
    file: File,
    after: Annotated[int, Field(ge=0)] = 0,
    limit: Limit = PAGE,
    format: Literal["json", "csv"] = "json",
) -> "RejectedPage | Response":
    """Rows of a file that were rejected, each with its line and the reason; as CSV, all of them."""
    first = client.data.rejected(file, after=after, limit=limit)
    if format == "json":
        return first

    def lines(page: "RejectedPage") -> Iterator[tuple[object, ...]]:
        while True:
            yield from ((row.line, row.reason, row.row) for row in page.rows)
            if page.next is None:
                return
            page = client.data.rejected(file, after=page.next, limit=MOST_FILES)

    return csv_response(("line", "reason", "row"), lines(first), name="rejected-rows")


@api.get("/api/file/lengths")
def row_lengths(client: Client, file: File) -> "RowLengths":
    """How long the first rows of a file are, in bytes."""
    return client.data.row_lengths(file)


@api.get("/api/file/row")
def shown_row(client: Client, file: File, line: Line) -> "Shown":
    """A row as the model sees it, token by token. Another process renders it, one row at a time."""
    return client.data.show_known(file, line, timeout_s=RENDERING_S)


@api.post("/api/file/flag")
def flag_row(client: Client, body: FlagRow) -> "Flagged":
    """Flag a row that somebody should inspect."""
    return client.flags.add(body.file, body.line, printable(body.note))


@api.get("/api/flags")
def flagged_rows(client: Client, file: str = "", limit: Limit = PAGE) -> "list[Flagged]":
    """Rows that were flagged, the last one first; of one place in the queue, or of all."""
    found = [entry for entry in client.flags.entries() if not file or entry.file == file]
    return found[::-1][:limit]
