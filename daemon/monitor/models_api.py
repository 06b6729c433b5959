"""The API of the page Models: which versions there are, what made them, and what people say about them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.monitor.endpoints import Api, csv_response

if TYPE_CHECKING:
    from daemon.client.results import (
        AverageKept,
        BrokenCheckpoint,
        DeletedVersion,
        Life,
        RecordedVerdict,
        TrainedFile,
        VersionDetails,
        VersionDifferences,
        VersionLine,
        VersionPage,
        WholeCheckpoint,
    )

Format = Literal["json", "csv"]
Limit = Annotated[int, Field(ge=1, le=1000)]
DRAWN_VERSIONS = 1_000
MOST_ROWS = 1_000_000  # of a table as CSV

VERSION_COLUMNS = (
    *("version", "made_at", "made_by", "step", "branch", "parent", "files", "validation_loss"),
    *(
        "validation_weights",
        "suites",
        "bytes",
        "is_current",
        "has_optimizer_state",
        "aliases",
        "tags",
        "notes",
    ),
)
FILE_COLUMNS = ("name", "first_step", "last_step", "rows", "outcome", "sha256", "job_id")
BRANCH_COLUMNS = (
    *("number", "from_branch", "from_step", "last_step", "began_at", "why", "reason", "led_until"),
)
CHECKPOINT_COLUMNS = (
    *("name", "state", "is_current", "is_pinned", "global_step", "written_at", "bytes", "reason"),
)
GATE_COLUMNS = (
    *("at", "outcome", "from_step", "step", "branch", "files", "what", "weights", "against", "rows"),
    *("before", "after", "t_or_p", "reason"),
)

api = Api()


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewNote(_Body):
    """What is said about a version."""

    text: str


class NewTag(_Body):
    """A tag that is given to a version, or taken from it."""

    tag: str
    is_set: bool = True


class NewAlias(_Body):
    """A name that is to mean a version, or nothing."""

    alias: str
    version: str | None = None
    """None to let it mean nothing."""


class Pin(_Body):
    """Whether a checkpoint is kept for ever."""

    is_pinned: bool


# ---- read


@api.get("/api/models/versions")
def model_versions(
    client: Client, after: str | None = None, limit: Limit = 50, search: str = "", format: Format = "json"
) -> "VersionPage | Response":
    """Versions of the model, the newest first, a page at a time; as CSV, all that the search means."""
    if format == "json":
        return client.models.page(after=after, limit=limit, search=search)
    found = client.models.page(limit=MOST_ROWS, search=search)
    return csv_response(VERSION_COLUMNS, map(_version_cells, found.versions), name="versions")


@api.get("/api/models/versions/{name}")
def model_version(client: Client, name: str) -> "VersionDetails":
    """Everything about one version. `name` may be its id, an alias, `latest` or `current`."""
    return client.models.details(name)


@api.get("/api/models/versions/{name}/files")
def files_of_version(client: Client, name: str, format: Format = "json") -> "list[TrainedFile] | Response":
    """Every file that a version was trained on, in the order of first steps."""
    found = client.models.lineage(client.models.find(name))
    return found if format == "json" else as_table(FILE_COLUMNS, found, name="files-of-version")


@api.get("/api/models/trash")
def deleted_versions(client: Client) -> "tuple[DeletedVersion, ...]":
    """Versions that were deleted and can be brought back, oldest first."""
    return client.models.deleted()


@api.get("/api/models/life")
def life_of_model(client: Client, format: Format = "json") -> "Life | Response":
    """The steps of the model, where it went back and why, and its versions along them."""
    found = client.models.life(most_versions=DRAWN_VERSIONS)
    return found if format == "json" else as_table(BRANCH_COLUMNS, found.branches, name="branches")


@api.get("/api/models/differences")
def version_differences(client: Client, before: str, after: str) -> "VersionDifferences":
    """How settings and files of two versions differ; a comparison says what both do with the same rows."""
    return client.models.differences(client.models.find(before), client.models.find(after))


@api.get("/api/models/checkpoints")
def model_checkpoints(
    client: Client, format: Format = "json"
) -> "tuple[WholeCheckpoint | BrokenCheckpoint, ...] | Response":
    """The checkpoints that are kept, newest first, judged by the sizes of their files."""
    found = client.checkpoints.listed()
    return found if format == "json" else as_table(CHECKPOINT_COLUMNS, found, name="checkpoints")


@api.get("/api/models/gate")
def gate_verdicts(
    client: Client, file: str | None = None, limit: Limit = 100, format: Format = "json"
) -> "list[RecordedVerdict] | Response":
    """What the gate has found, the newest first: losses and suites before and after files."""
    found = client.history.gate_verdicts(file=file, limit=limit)
    if format == "json":
        return found
    rows = (cells for verdict in found for cells in _verdict_rows(verdict))
    return csv_response(GATE_COLUMNS, rows, name="gate-verdicts")


@api.get("/api/models/average")
def average_weights(client: Client) -> "AverageKept":
    """The averaged weights, if they are kept, and how good they are beside the last ones."""
    return client.average()


# ---- say something about one


@api.post("/api/models/versions/{name}/note")
def note_version(client: Client, name: str, body: NewNote) -> "VersionDetails":
    """Add a note to a version."""
    version = client.models.find(name)
    client.models.note(version, body.text)
    return client.models.details(version.id)


@api.post("/api/models/versions/{name}/tag")
def tag_version(client: Client, name: str, body: NewTag) -> "VersionDetails":
    """Give a tag to a version, or take it away. One with the tag `pinned` keeps its optimizer state."""
    version = client.models.find(name)
    client.models.tag(version, body.tag, is_set=body.is_set)
    return client.models.details(version.id)


@api.post("/api/models/aliases")
def alias_version(client: Client, body: NewAlias) -> dict[str, str | None]:
    """Let a name mean a version, or nothing; the answer says what it meant before."""
    if body.version is None:
        return {"alias": body.alias, "before": client.models.unalias(body.alias), "version": None}
    version = client.models.find(body.version)
    before = client.models.alias(body.alias, version)
    return {"alias": body.alias, "before": before, "version": version.id}


@api.post("/api/models/trash/{name}/restore")
def undelete_version(client: Client, name: str) -> dict[str, str]:
    """Take a version out of the trash."""
    return {"version": client.models.undelete(name).id}


@api.post("/api/models/checkpoints/{name}/pin")
def pin_checkpoint(client: Client, name: str, body: Pin) -> dict[str, str | bool]:
    """Keep a checkpoint for ever, or leave it to the rules for old ones."""
    act = client.checkpoints.pin if body.is_pinned else client.checkpoints.unpin
    found, is_new = act(name)
    return {"checkpoint": found, "is_pinned": body.is_pinned, "has_changed": is_new}


# ---- parts


def as_table(columns: Sequence[str], items: Iterable[object], *, name: str) -> Response:
    """Return the attributes of some items as CSV; one that an item lacks is left empty."""
    return csv_response(
        columns, ([getattr(item, column, "") for column in columns] for item in items), name=name
    )


def _version_cells(line: "VersionLine") -> tuple[object, ...]:
    suites = "; ".join(f"{score.suite} {score.exact_match:.4f}" for score in line.suites)
    return (
        *(line.id, line.made_at, line.made_by, line.global_step, line.branch, line.parent, line.files),
        *(line.validation_loss, line.validation_weights, suites, line.bytes, line.is_current),
        *(line.has_optimizer_state, " ".join(line.aliases), " ".join(line.tags), " | ".join(line.notes)),
    )


def _verdict_rows(verdict: "RecordedVerdict") -> Iterator[tuple[Any, ...]]:
    """Yield a row for each comparison; one without numbers where nothing was compared."""
    files = ", ".join(file.name for file in verdict.files)
    facts = (verdict.at, verdict.outcome, verdict.from_step, verdict.global_step, verdict.branch, files)
    numbers: list[tuple[Any, ...]] = [
        ("loss", item.weights, item.against, item.rows, item.loss_before, item.loss_after, item.t)
        for item in verdict.losses
    ]
    numbers += [
        (item.suite, item.weights, "before", item.rows, item.right_before, item.right_after, item.p)
        for item in verdict.suites
    ]
    for found in numbers or [("",) * 7]:
        yield (*facts, *found, verdict.reason)
