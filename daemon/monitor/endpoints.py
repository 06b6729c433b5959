"""How the monitor's API is declared: one decorator for each request, from which routes and docs are made.

An endpoint is a plain function that asks the client and returns what the client's answer is; it runs in a
thread, so it may read files. What the client refuses becomes an answer with the same words. The types of
answers are named, but not loaded: with all of them the process would take ten megabytes more.
"""

import asyncio
import csv
import inspect
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from daemon.client.client import Client
from daemon.client.errors import (
    AmbiguousName,
    ClientError,
    NoDaemon,
    NoLog,
    NoReport,
    NoSuchCheckpoint,
    NoSuchFile,
    NoSuchRow,
    NoSuchVersion,
    NotAWorkingDirectory,
    NotObeyed,
    NotReady,
    TooBusy,
    TooLarge,
    UnreadableHistory,
    WrongOffset,
)
from daemon.monitor.access import allowed_by
from trainer.protocol.text import printable, system_words

GIVEN = ("client", "allowed")
"""Arguments of an endpoint that the server gives: the client, and what the sender may do."""
MOST_BODY_BYTES = 1_000_000  # of a request; uploads are streamed instead
BODY_S = 10.0  # within which it is to come

STATUS_OF_ERRORS: tuple[tuple[tuple[type[ClientError], ...], int], ...] = (
    ((NoSuchFile, NoSuchRow, NoSuchCheckpoint, NoSuchVersion, NoReport, NoLog), 404),
    ((NotObeyed, NotReady), 504),
    ((NoDaemon, UnreadableHistory, NotAWorkingDirectory), 503),
    ((AmbiguousName, WrongOffset), 409),
    ((TooLarge,), 413),
    ((TooBusy,), 429),
)
REFUSED = 422  # everything else that the client refuses
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a cell for a formula
CSV_ROWS_AT_ONCE = 500


class BadRequest(ValueError):
    """A request asks for what is not offered; the message says what is."""


class NotFound(LookupError):
    """There is nothing of this name; the message says what there is."""


class Content:
    """The body of a request, part by part, as it comes; never as a whole."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self.parts = parts


@dataclass(frozen=True)
class Endpoint:
    """One request of the API."""

    method: str
    path: str
    function: Callable[..., Any]
    summary: str

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return what is taken from path, query and body."""
        found = inspect.signature(self.function).parameters
        return {name: parameter for name, parameter in found.items() if name not in GIVEN}


@dataclass
class Api:
    """The requests of one part of the monitor."""

    endpoints: list[Endpoint] = field(default_factory=list)

    def get(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare how a document is read. Arguments of the function come from the path, or the query."""
        return self._declare("GET", path)

    def post(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a request that changes something. One argument may be a model: the body as JSON."""
        return self._declare("POST", path)

    def put(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a request that brings a file. One argument is its `Content`, and the function is async."""
        return self._declare("PUT", path)

    def _declare(self, method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def declaring(function: Callable[..., Any]) -> Callable[..., Any]:
            summary = inspect.cleandoc(function.__doc__ or "").splitlines()[0]
            self.endpoints.append(Endpoint(method, path, function, summary))
            return function

        return declaring

    def routes(self, client: Client) -> list[Route]:
        """Return what the server is to answer."""
        return [
            Route(endpoint.path, _handler(endpoint, client), methods=[endpoint.method])
            for endpoint in self.endpoints
        ]


def _handler(endpoint: Endpoint, client: Client) -> Callable[[Request], Any]:
    parameters = endpoint.parameters()
    content_name = next((name for name, item in parameters.items() if item.annotation is Content), None)
    if content_name:
        del parameters[content_name]
    adapters = {name: TypeAdapter(parameter.annotation) for name, parameter in parameters.items()}
    body_name = next((name for name, parameter in parameters.items() if is_model(parameter.annotation)), None)

    takes_allowed = "allowed" in inspect.signature(endpoint.function).parameters

    async def handle(request: Request) -> Response:
        try:
            given: dict[str, Any] = {**request.query_params, **request.path_params}
            unknown = given.keys() - (parameters.keys() - {body_name})
            if unknown:
                offered = ", ".join(sorted(parameters.keys() - {body_name})) or "none"
                raise BadRequest(f"unknown parameter {printable(min(unknown))!r}; expected: {offered}")
            arguments = {name: _parsed(name, adapters[name], value) for name, value in given.items()}
            missing = [
                name
                for name, parameter in parameters.items()
                if parameter.default is parameter.empty and name not in arguments and name != body_name
            ]
            if missing:
                raise BadRequest(f"the parameter {missing[0]!r} is missing")
            if takes_allowed:
                arguments["allowed"] = allowed_by(request.state)
            if body_name:
                arguments[body_name] = await _body(request, adapters[body_name])
            if content_name:
                arguments[content_name] = Content(request.stream())
            if inspect.iscoroutinefunction(endpoint.function):
                return as_response(await endpoint.function(client, **arguments))
            return as_response(await run_in_threadpool(endpoint.function, client, **arguments))
        except (BadRequest, NotFound, ClientError) as error:
            return refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except OSError as error:
            return JSONResponse({"error": system_words(error)}, status_code=500)

    return handle


def is_model(annotation: Any) -> bool:
    """Return whether an argument is the body of a request."""
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel)


def _parsed(name: str, adapter: TypeAdapter[Any], value: str) -> Any:
    try:
        return adapter.validate_strings(value)
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise BadRequest(f"{name} is {printable(repr(value), limit=80)}: {why}") from error


async def _body(request: Request, adapter: TypeAdapter[Any]) -> Any:
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                content += part
                if len(content) > MOST_BODY_BYTES:
                    raise BadRequest(f"the body has more than {MOST_BODY_BYTES:,} bytes")
    except TimeoutError as error:
        raise BadRequest(f"the body has not come within {BODY_S:g} s") from error
    try:
        return adapter.validate_json(bytes(content) or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise BadRequest(f"{printable(where)}: {first['msg']}") from error


def as_response(answer: Any) -> Response:
    """Return a document as JSON; a response as it is."""
    if isinstance(answer, Response):
        return answer
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


def csv_response(columns: Sequence[str], rows: Iterable[Sequence[object]], *, name: str) -> Response:
    """Return a table as CSV, written row by row while it is sent.

    Args:
        name: of the file that a browser saves, without its suffix.
    """

    def lines() -> Iterator[bytes]:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        for number, row in enumerate(rows, 1):
            writer.writerow(map(_csv_cell, row))
            if number % CSV_ROWS_AT_ONCE == 0:
                yield text.getvalue().encode("utf-8", "backslashreplace")
                text.seek(0)
                text.truncate()
        yield text.getvalue().encode("utf-8", "backslashreplace")

    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _csv_cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


def refusal(error: Exception) -> Response:
    """Return what the client, or a request, is answered that cannot be done."""
    if isinstance(error, NotFound):
        status = 404
    elif isinstance(error, ClientError):
        status = next((code for kinds, code in STATUS_OF_ERRORS if isinstance(error, kinds)), REFUSED)
    else:
        status = 400
    return JSONResponse({"error": str(error)}, status_code=status)
