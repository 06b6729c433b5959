"""Serve the monitor until somebody ends it."""

import fcntl
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from daemon.client.client import Client
from daemon.client.monitor_process import running_monitor
from daemon.monitor.access import is_loopback
from daemon.monitor.app import make_app
from daemon.monitor.links import link_lines, url_of
from daemon.monitor.slow_clients import ImpatientProtocol
from daemon.monitor.stream import Hub
from daemon.monitor.tokens import UnusableTokens, load_tokens
from trainer.protocol.files import write_json
from trainer.protocol.layout import READY, Layout
from trainer.protocol.text import printable

MOST_CONNECTIONS = 600
KEEP_ALIVE_S = 30
STOP_S = 2
NOT_ENCRYPTED = (
    "  It is not encrypted: whoever can read the network can read the link. Safer, from another machine:\n"
    "  ssh -L {port}:127.0.0.1:{port} THIS_MACHINE, and here --host 127.0.0.1"
)


class CannotServe(RuntimeError):
    """The monitor cannot start; the message says why, and what to do."""


def serve(
    base_dir: Path,
    *,
    host: str,
    port: int,
    allowed_hosts: Sequence[str],
    new_tokens: bool,
    quiet: bool,
    max_upload: int | None,
    ready_fd: int | None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        port: 0 takes a free one.
        allowed_hosts: other names by which browsers may call this machine.
        new_tokens: lock out whoever has the present link.
        quiet: print no link, for a log that others read.
        max_upload: bytes that a file may have which is uploaded; None takes the usual number, 0 allows none.
        ready_fd: where to say that it serves; None tells nobody.
    Raises:
        CannotServe: one runs already, the address is in use, or the tokens cannot be used.
    """
    client = Client(base_dir)
    layout = client.layout
    if max_upload is not None:
        client.uploads.most_bytes = max_upload
    with _alone(layout):
        try:
            tokens = load_tokens(layout.status, renew=new_tokens)
        except UnusableTokens as error:
            raise CannotServe(str(error)) from error
        listening = listen(host, port)
        port = listening.getsockname()[1]
        write_json(layout.monitor_file, {"pid": os.getpid(), "host": host, "port": port}, durable=False)
        hub = Hub(client)
        app = make_app(client, tokens, port=port, hosts=[*allowed_hosts, *_names(host)], hub=hub)
        print(f"The monitor of {printable(str(layout.base))} runs on {url_of(host, port)}", flush=True)
        if not quiet:
            print("\n".join(link_lines(tokens, host, port)), flush=True)
            if not is_loopback(host):
                print(NOT_ENCRYPTED.format(port=port), file=sys.stderr, flush=True)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "wb") as ready:
                ready.write(READY)
        MonitorServer(app, hub).run(sockets=[listening])


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Be the one monitor of a working directory while the block lasts, at most as long as the process."""
    with layout.monitor_lock_file.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = running_monitor(layout)
            where = f" on {url_of(found.host, found.port)} (pid {found.pid})" if found else ""
            raise CannotServe(
                f"a monitor of {printable(str(layout.base))} runs already{where}; its links: "
                "training_monitor links; to end it: training_monitor stop"
            ) from None
        yield


class MonitorServer(uvicorn.Server):
    """Serves the application; ends its streams before it waits for requests to end."""

    def __init__(
        self, app: ASGIApp, hub: Hub, *, protocol: type[ImpatientProtocol] = ImpatientProtocol
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,  # it would contain the link
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_S,
                limit_concurrency=MOST_CONNECTIONS,
                h11_max_incomplete_event_size=32_768,
                ws="none",
                loop="asyncio",
                http=protocol,
            )
        )
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, then what else is open."""
        await self._hub.close()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on an address.

    Args:
        port: 0 takes a free one.
    Raises:
        CannotServe: it is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise CannotServe(
            f"--host {printable(host)} --port {port}: {error}; expected a free port of this machine's own "
            "addresses; choose another with --port"
        ) from error
    return listening


def _names(host: str) -> list[str]:
    """Return by which names a browser may call this machine."""
    if is_loopback(host):
        return []
    name = socket.gethostname()
    return [name, f"{name}.local", host]
