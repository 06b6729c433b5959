"""A web server on this machine that answers as a test wants, and notes what it was sent."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answering(BaseHTTPRequestHandler):
    """Reads what was posted and has the server's `answer` do the rest."""

    server: "HookServer"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers.items()), body))
        self.server.answer(self)

    do_GET = do_POST  # what follows a redirect asks so

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def say(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class HookServer(ThreadingHTTPServer):
    """Runs until it is closed; `over` ends what an answer waits for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.over = threading.Event()
        self.answer: Callable[[Answering], None] = lambda request: request.say(204)
        self.address = f"http://127.0.0.1:{self.server_port}/hook?token=hidden"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def hang(self, request: Answering) -> None:
        """Never answer."""
        self.over.wait()

    def drip(self, request: Answering) -> None:
        """Send a byte of a header now and then, for ever."""
        request.wfile.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
        while not self.over.wait(0.02):
            request.wfile.write(b".")
            request.wfile.flush()

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
