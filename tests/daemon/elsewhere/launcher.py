"""Start workers through an agent, as if on another machine: all that is shared is TCP and the folder."""

import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from signal import Signals
from typing import Any

from daemon.supervision.hang_watch import NO_SIGNS, Signs
from daemon.supervision.launcher import Launched
from tests.daemon.elsewhere.agent import FOREIGN
from tests.daemon.rig import FAKE_WORKER
from trainer.protocol.handshake import SECRET_VARIABLE
from trainer.protocol.layout import Layout
from trainer.protocol.messages import CONNECTION_LOST
from trainer.protocol.tcp import Listener, connect

FAKE = (sys.executable, "-I", "-S", str(FAKE_WORKER))
REAL = (sys.executable, "-P", "-m", "trainer.mains.worker")
ANSWER_S = 5.0
CONNECT_S = 60.0  # an interpreter starts, on a machine that may be busy
OUTLIVES_CONNECTION_S = 120.0


class FarProcess:
    """A worker that an agent answers for; of no use but over this connection.

    Args:
        agent: the connection to it, over which nothing has been said yet.
    """

    def __init__(self, agent: socket.socket, order: dict[str, Any]) -> None:
        self._agent = agent
        self._unread = b""
        self.signals: list[Signals] = []
        self.end: dict[str, Any] | None = None
        self.pid = self._ask(order, unknown=0)

    @property
    def real_pid(self) -> int:
        """The number under which the test finds it after all."""
        return self.pid - FOREIGN

    def poll(self) -> int | None:
        return self.wait(0.0)

    def wait(self, timeout_s: float) -> int | None:
        self._hear(timeout_s)
        return self.end["exit_code"] if self.end else None

    def signal(self, number: Signals) -> None:
        self.signals.append(number)
        self._say(["signal", number])

    def signs(self) -> Signs:
        found = self._ask(["signs"], unknown=None)
        return Signs(**found) if found else NO_SIGNS

    def memory_bytes(self) -> int | None:
        return self._ask(["memory"], unknown=None)

    def oom_kills(self) -> int:
        return self.end["oom_kills"] if self.end else self._ask(["oom_kills"], unknown=0)

    def last_words(self, max_bytes: int) -> str:
        words = self.end["words"] if self.end else self._ask(["words"], unknown="")
        return words[-max_bytes:]

    def close(self) -> None:
        self._agent.close()

    def _ask(self, request: Any, *, unknown: Any) -> Any:
        self._say(request)
        found = self._hear(ANSWER_S)
        return unknown if self.end else found

    def _say(self, request: Any) -> None:
        if not self.end:
            try:
                self._agent.sendall(json.dumps(request).encode() + b"\n")
            except OSError:
                self._lose()

    def _hear(self, timeout_s: float) -> Any:
        """Return the next thing the agent says, if it is not the end."""
        deadline = time.monotonic() + timeout_s
        while not self.end and b"\n" not in self._unread:
            if not select.select([self._agent], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            try:
                chunk = self._agent.recv(65536)
            except OSError:
                chunk = b""
            if not chunk:
                self._lose()
            self._unread += chunk
        if self.end:
            return None
        line, self._unread = self._unread.split(b"\n", 1)
        value = json.loads(line)
        if isinstance(value, dict) and "exit_code" in value:
            self.end = value
        return value

    def _lose(self) -> None:
        """Count a worker as ended that nobody answers for; when its connection is closed, it leaves."""
        self.end = {"exit_code": CONNECTION_LOST, "oom_kills": 0, "words": ""}


class FarLauncher:
    """Starts an agent, and workers through it.

    Args:
        folder: the agent's own.
        environment: of the next worker, as the agent's machine has it.
    """

    def __init__(self, folder: Path, command: tuple[str, ...] = FAKE, **environment: str) -> None:
        self.command = command
        self.environment = environment
        self.launched: list[FarProcess] = []
        self.endpoints: list[socket.socket] = []
        self._secret = secrets.token_hex(32).encode()
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.elsewhere.agent", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, SECRET_VARIABLE: self._secret.decode()},
        ) as started:
            self._lifeline, started.stdin = started.stdin, None
            self.address = started.stdout.readline().decode().strip()

    def launch(self, layout: Layout) -> Launched:
        listener = Listener("127.0.0.1", self._secret)
        try:
            command = [*self.command, "--base-dir", str(layout.base), "--connect", listener.address]
            order = {"command": command, "environment": self.environment}
            process = FarProcess(connect(self.address, self._secret), order)
            self.launched.append(process)
            endpoint = listener.accept(CONNECT_S)
        finally:
            listener.close()
        self.endpoints.append(endpoint)
        return Launched(process, endpoint, outlives_connection_s=OUTLIVES_CONNECTION_S)

    def cut(self) -> None:
        """End the connection between the daemon and the newest worker, and nothing else."""
        self.endpoints[-1].shutdown(socket.SHUT_RDWR)

    def end_agent(self) -> None:
        """End the agent, and with it every worker."""
        self._lifeline.close()

    def close(self) -> None:
        self.end_agent()
        for process in self.launched:
            process.close()
