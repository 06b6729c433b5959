"""Start real workers in a tenth of the time: a process that has imported torch once forks them.

    python -m tests.crash.nursery SOCKET

It must never compute anything itself: a fork does not bring the threads of torch along.
"""

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import psutil

from daemon.supervision.hang_watch import Signs
from daemon.supervision.launcher import Launched
from daemon.supervision.local_launcher import open_stderr, stderr_file
from daemon.supervision.vital_signs import read_rss, read_signs
from trainer.protocol.layout import Layout

CHUNK_BYTES = 65536


class NurseryLauncher:
    """Starts workers through a nursery.

    Args:
        address: of the nursery's socket.
    """

    def __init__(self, address: Path) -> None:
        self._address = address

    def launch(self, layout: Layout) -> Launched:
        ours, theirs = socket.socketpair()
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(self._address))
        with theirs, open_stderr(layout) as stderr:
            order = json.dumps(
                {
                    "base": str(layout.base),
                    "failpoint": self._failpoint(layout),
                    "overtaken_at": self._overtaken_at(layout),
                }
            )
            socket.send_fds(line, [order.encode()], [theirs.fileno(), stderr.fileno()])
            pid = int(line.recv(CHUNK_BYTES))
        return Launched(NurseryProcess(pid, line, stderr_file(layout)), ours)

    @staticmethod
    def _failpoint(layout: Layout) -> str:
        """Take the place at which this worker is to die from a list, of which each worker gets one."""
        wishes = layout.base / "failpoints"
        if not wishes.exists():
            return ""
        first, *others = wishes.read_text().splitlines() or [""]
        wishes.write_text("\n".join(others))
        return first

    @staticmethod
    def _overtaken_at(layout: Layout) -> int | None:
        """Take the step at which this worker, but no later one, waits to be overtaken."""
        wish = layout.base / "overtaken-at"
        if not wish.exists():
            return None
        step = int(wish.read_text())
        wish.unlink()
        return step


@dataclass
class NurseryProcess:
    """A worker that is a child of the nursery, which tells how it ended."""

    pid: int
    line: socket.socket
    stderr: Path
    code: int | None = None

    def poll(self) -> int | None:
        return self.wait(0)

    def signal(self, number: Signals) -> None:
        if self.code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number) if number is SIGKILL else os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int | None:
        if self.code is None and select.select([self.line], [], [], timeout_s)[0]:
            said = self.line.recv(CHUNK_BYTES)
            self.code = int(said) if said else -SIGKILL  # the nursery itself is gone
            self.line.close()
        return self.code

    def signs(self) -> Signs:
        return read_signs(self.pid)

    def memory_bytes(self) -> int | None:
        return read_rss(self.pid)

    def oom_kills(self) -> int:
        return 0

    def last_words(self, max_bytes: int) -> str:
        return self.stderr.read_bytes()[-max_bytes:].decode("utf-8", "replace").strip()


# ---- the process


def main() -> None:
    """Serve orders for ever."""
    import_everything()
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(16)
    print("ready", flush=True)
    children: dict[int, socket.socket] = {}
    while True:
        if select.select([server], [], [], 0.01)[0]:
            line, _ = server.accept()
            start(line, children)
        while children and (ended := os.waitpid(-1, os.WNOHANG)) and ended[0]:
            line = children.pop(ended[0])
            with suppress(OSError):  # its daemon may be gone
                line.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())
            line.close()


def start(line: socket.socket, children: dict[int, socket.socket]) -> None:
    """Fork one worker."""
    message, descriptors = b"", []
    with suppress(OSError):
        message, descriptors, _, _ = socket.recv_fds(line, CHUNK_BYTES, 2)
    if not message:
        return
    pid = os.fork()
    if pid == 0:
        os.setsid()
        become_worker(json.loads(message), *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    children[pid] = line
    with suppress(OSError):  # the daemon may have been killed meanwhile
        line.sendall(str(pid).encode())


def become_worker(order: dict[str, Any], channel: int, stderr: int) -> None:
    """Do what a fresh worker process does."""
    from trainer.mains import worker
    from trainer.protocol import failpoints

    os.dup2(stderr, 1)
    os.dup2(stderr, 2)
    failpoints.arm(order["failpoint"])
    if order["overtaken_at"] is not None:
        wait_to_be_overtaken(order["overtaken_at"])
    sys.argv = ["worker", "--base-dir", order["base"], "--channel-fd", str(channel)]
    sys.argv += ["--parent-pid", str(os.getppid())]
    code = 1
    try:
        code = worker.main()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_to_be_overtaken(at_step: int) -> None:
    """Have the session train nothing after `at_step` until its job is to be preempted."""
    from trainer.protocol.messages import PreemptJob
    from trainer.session.session import Session

    may_go_on = Session._may_go_on

    def wait_first(session: Session, job_id: str) -> bool:
        if session.progress.global_step == at_step:
            while not isinstance(command := session._commands.get(None), PreemptJob):
                session._obey(command)
            session._obey(command)
        return may_go_on(session, job_id)

    Session._may_go_on = wait_first  # type: ignore[method-assign]


def import_everything() -> None:
    """Import what a worker imports in its first seconds."""
    import peft
    import transformers.models.qwen3.modeling_qwen3
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    from trainer.mains import worker
    from trainer.session import engine

    del peft, transformers, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, worker, engine


def workers_of(nursery_pid: int) -> list[psutil.Process]:
    """Return the workers that live."""
    try:
        return psutil.Process(nursery_pid).children()
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
