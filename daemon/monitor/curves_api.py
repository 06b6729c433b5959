"""The API of the charts: a metric over the steps, and what it is marked with."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from daemon.client.client import Client
from daemon.client.curves import Axis, Metric
from daemon.monitor.endpoints import Api, csv_response

if TYPE_CHECKING:
    from daemon.client.results import LiveCurve, Marks, TrainedInSteps

MOST_POINTS = 2_000

Step = Annotated[int, Field(ge=0, lt=2**62)]

api = Api()


@api.get("/api/curves/{metric}")
def curve(
    client: Client,
    metric: Metric,
    file: str | None = None,
    x: Axis = Axis.STEP,
    first: Step | None = None,
    last: Step | None = None,
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] = 1_000,
    format: Literal["json", "csv"] = "json",
) -> "LiveCurve | Response":
    """How a metric has changed over the steps, over the tokens, or over the time that steps have taken."""
    found = client.curves.curve(metric, file=file, axis=x, first=first, last=last, max_points=points)
    if format == "csv":
        return csv_response(found.column_names(), found.rows(), name=f"{metric.value}-over-{x.value}")
    return found


@api.get("/api/marks")
def marks(client: Client, first: Step | None = None, last: Step | None = None) -> "Marks":
    """What curves are marked with: files, checkpoints, versions, ways back, steps that did nothing."""
    return client.curves.marks(first=first, last=last)


@api.get("/api/trained")
def trained(
    client: Client, first: Step, last: Step, limit: Annotated[int, Field(ge=1, le=1000)] = 5
) -> "TrainedInSteps":
    """Which files, and which of their rows, were trained in a range of steps."""
    return client.curves.trained_rows(first, last, limit=limit)
