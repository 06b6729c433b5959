"""Put the monitor together: pages, API, stream, and the access rules around them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from daemon.client.client import Client
from daemon.monitor import (
    answers_api,
    curves_api,
    files_api,
    health_api,
    metrics,
    model_acts_api,
    models_api,
    now,
    queue_api,
    uploads_api,
)
from daemon.monitor.access import Access
from daemon.monitor.endpoints import Api
from daemon.monitor.stream import Hub
from daemon.monitor.tokens import Tokens

STATIC = Path(__file__).with_name("static")
PAGES = ("/", "/queue", "/files", "/models", "/answers", "/health", "/settings")
THREADS = 6
PARTS: tuple[Api, ...] = (
    now.api,
    curves_api.api,
    queue_api.api,
    uploads_api.api,
    files_api.api,
    models_api.api,
    model_acts_api.api,
    answers_api.api,
    health_api.api,
    metrics.api,
)


def make_app(
    client: Client,
    tokens: Tokens,
    *,
    port: int,
    hosts: Iterable[str] = (),
    hub: Hub,
    clock: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """Return the application.

    Args:
        port: on which it is served, for the cookie's name.
        hosts: other names than this machine's own by which browsers may call it.
        hub: tells open pages what has changed.
    """

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        # Few threads read files at the same time; each takes memory
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        cleaning = asyncio.create_task(uploads_api.remove_abandoned_now_and_then(client))
        yield
        cleaning.cancel()
        with suppress(asyncio.CancelledError):
            await cleaning

    routes = [
        *(Route(page, _shell) for page in PAGES),
        Route("/api/stream", hub.answer),
        Route("/api/openapi.json", _openapi),
        Route("/healthz", _is_alive),
        Route("/readyz", _is_ready(client)),
        *(route for part in PARTS for route in part.routes(client)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(routes=routes, lifespan=running, exception_handlers={404: _not_found})
    return Access(app, tokens=tokens, hosts=hosts, cookie=f"training_monitor_{port}", clock=clock)


async def _shell(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def _openapi(request: Request) -> Response:
    return FileResponse(STATIC / "openapi.json", media_type="application/json")


async def _is_alive(request: Request) -> Response:
    return JSONResponse({"monitor": "running"})


def _is_ready(client: Client) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        """Whether there is a working directory to show. A thread runs it, because it reads files."""
        is_ready = client.is_working_directory
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    return answer


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "there is nothing at this address"}, status_code=404)
