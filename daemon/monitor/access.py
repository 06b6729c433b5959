"""Who may ask what: host names, tokens, origins, rates; and the headers that keep a browser from harm.

Everything that comes in passes here first, so no page and no endpoint has rules of its own.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.monitor.tokens import Scope as Allowed
from daemon.monitor.tokens import Tokens

OPEN_PATHS = ("/healthz", "/readyz")
"""They say whether the monitor works, and nothing about what is trained."""
STATIC = "/static/"  # the program, which is no secret
LOGIN = "/login"
SAFE_METHODS = ("GET", "HEAD")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE_DAYS = 30
FAILURES_ALLOWED, FAILURES_WINDOW_S = 20, 60.0  # wrong tokens of one address
CHANGES_ALLOWED, CHANGES_WINDOW_S = 240, 60.0  # requests of one address that change something
MOST_ADDRESSES = 4096

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass
class Rate:
    """Counts what an address does within a window of time.

    Args:
        clock: monotonic seconds.
    """

    allowed: int
    window_s: float
    clock: Callable[[], float]
    _seen: "OrderedDict[str, list[float]]" = field(default_factory=OrderedDict)

    def is_exceeded(self, address: str) -> bool:
        """Whether the address has done it too often."""
        return len(self._recent(address)) >= self.allowed

    def note(self, address: str) -> None:
        """Count it once more."""
        self._seen[address] = [*self._recent(address), self.clock()]
        self._seen.move_to_end(address)
        while len(self._seen) > MOST_ADDRESSES:
            self._seen.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self.clock() - self.window_s
        return [at for at in self._seen.get(address, ()) if at > since]


class Access:
    """Lets requests through to `app`, or answers them itself.

    Args:
        hosts: names by which a browser may call this server, without a port; those of this machine alone
            are always among them.
        cookie: its name; one for each port, because browsers share cookies between ports.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        hosts: Iterable[str],
        cookie: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = {host.lower().strip("[]").rstrip(".") for host in (*LOOPBACK, *hosts)}
        self._cookie = cookie
        self._failures = Rate(FAILURES_ALLOWED, FAILURES_WINDOW_S, clock)
        self._changes = Rate(CHANGES_ALLOWED, CHANGES_WINDOW_S, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = self._judge(scope)
        target = self._app if answer is None else answer
        await target(scope, receive, _with_headers(send, scope["path"]))

    def _judge(self, scope: Scope) -> Response | None:
        """Return how a request is refused, or answered here; None lets it through."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        address = scope["client"][0] if scope.get("client") else "unknown"
        if (host := headers.get("host", "")) and not self._is_ours(host):
            return _refused(421, "this server does not answer to that host name; see --allow-host")
        if not host:
            return _refused(400, "the request names no host")
        if method in SAFE_METHODS and (path in OPEN_PATHS or path.startswith(STATIC)):
            return None
        if path == LOGIN:
            return self._log_in(scope, address)
        token, by_cookie = self._token_of(headers)
        allowed = self._tokens.scope_of(token) if token else None
        if allowed is None:
            return self._failed(address, _ask_to_log_in(headers)) if token else _ask_to_log_in(headers)
        if method in SAFE_METHODS:
            scope.setdefault("state", {})["allowed"] = allowed
            return None
        if allowed is not Allowed.CONTROL:
            return _refused(
                403, "this link may only read; open the one for control that training_monitor printed"
            )
        if by_cookie and not _is_same_origin(headers, host):
            return _refused(403, "the request comes from another site")
        if self._changes.is_exceeded(address):
            return _refused(429, "too many requests; wait a minute", retry_after_s=60)
        self._changes.note(address)
        scope.setdefault("state", {})["allowed"] = allowed
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and name.rstrip(".") in self._hosts

    def _log_in(self, scope: Scope, address: str) -> Response:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        token = query.get("token", [""])[0]
        if self._tokens.scope_of(token) is None:
            message = "this link has no valid token; open the one that training_monitor printed"
            return self._failed(address, _refused(401, message))
        # Not a redirect: after a link on another site, a browser would not send the cookie along with it
        answer = _page("Logged in", "<a href=/>Go on to the page</a>.", 200, refresh=True)
        answer.set_cookie(
            self._cookie,
            token,
            max_age=COOKIE_DAYS * 86_400,
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )
        return answer

    def _failed(self, address: str, answer: Response) -> Response:
        """Return how a wrong token is answered; too many from one address are told to wait.

        A right one is let in all the same, or a stranger on the same address could lock its owner out.
        """
        if self._failures.is_exceeded(address):
            return _refused(429, "too many wrong tokens; wait a minute", retry_after_s=60)
        self._failures.note(address)
        return answer

    def _token_of(self, headers: Headers) -> tuple[str, bool]:
        """Return the token of a request, and whether it is the browser that added it."""
        if (given := headers.get("authorization", "")).lower().startswith("bearer "):
            return given[len("bearer ") :].strip(), False
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return "", True
        return (cookies[self._cookie].value if self._cookie in cookies else ""), True


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Return whether a browser says that a page of ours has sent the request."""
    if (site := headers.get("sec-fetch-site")) is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return site == "same-origin"
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _ask_to_log_in(headers: Headers) -> Response:
    """Answer who has no token: a person with a page, a program with JSON."""
    message = "open the link that training_monitor has printed; `training_monitor links` prints it again"
    if "text/html" not in headers.get("accept", ""):
        return _refused(401, message)
    return _page("Please log in", f"To see this page, {message}.", 401)


def _page(title: str, text: str, status: int, *, refresh: bool = False) -> Response:
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Training monitor</title>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"{'<meta http-equiv=refresh content=0;url=/>' if refresh else ''}"
        "<link rel=icon href=/static/icon.svg><link rel=stylesheet href=/static/app.css>"
        f"<main class=alone><h1>{title}</h1><p>{text}</p></main></html>"
    )
    return Response(page, status_code=status, media_type="text/html")


def _refused(status: int, message: str, *, retry_after_s: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _with_headers(send: Send, path: str) -> Send:
    """Return `send` that adds the headers to every answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            if not path.startswith(STATIC):
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_by(request_state: Any) -> Allowed:
    """Return what the sender of a request may do."""
    allowed: Allowed = request_state.allowed
    return allowed
