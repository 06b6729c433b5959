"""Start processes in a tenth of the time: one that has imported everything once forks the others.

    python -m tests.crash.nursery SOCKET PATRON [MODULE …]

PATRON is the process with which it ends, together with all that it has forked. Without modules to import it
takes what a worker and a daemon need.

It must never compute anything itself: a fork does not bring the threads of torch along.
"""

import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from signal import SIGKILL, Signals
from types import SimpleNamespace
from typing import Any

import psutil
from filelock import FileLock

from daemon.supervision.launcher import Launched, worker_environment
from daemon.supervision.local_launcher import LocalProcess, open_stderr, stderr_file
from trainer.protocol.layout import Layout

ROOT = Path(__file__).parent.parent.parent
CHUNK_BYTES = 65536
MOST_DESCRIPTORS = 8
FREE_DESCRIPTORS = 300  # from here on a child puts descriptors aside while it gives others their numbers


class ForkServer:
    """The process that forks. Whoever names the same address shares one.

    Args:
        address: of its socket.
        modules: what it imports; none stands for what a worker and a daemon need.
        patron: the process with which it ends at the latest; None for this one.
    """

    def __init__(self, address: Path, *modules: str, patron: int | None = None) -> None:
        self.address = address
        pid_file = address.with_suffix(".pid")
        with FileLock(address.with_suffix(".lock")):
            if not pid_file.exists():
                pid_file.write_text(str(self._start(patron or os.getpid(), modules)))
        self.pid = int(pid_file.read_text())

    def _start(self, patron: int, modules: Sequence[str]) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery", str(self.address), str(patron), *modules],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        assert process.stdout
        with process.stdout:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the nursery did not start")
        process.returncode = 0  # nobody waits for it: it may serve others for longer
        return process.pid

    def run(self, module: str, *arguments: str, asked: str = "") -> subprocess.CompletedProcess[str]:
        """Do what `python -P -m module arguments` does, and wait for its end; `asked` is its input."""
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
            files[0].write(asked)
            files[0].seek(0)
            code = self.fork(module, arguments, {n: file.fileno() for n, file in enumerate(files)}).wait()
            said = [file.seek(0) or file.read() for file in files[1:]]
        return subprocess.CompletedProcess([module, *arguments], code, *said)

    def fork(
        self, module: str, arguments: Sequence[str], descriptors: Mapping[int, int], **how: Any
    ) -> "Forked":
        """Start a module; the rest as in `fork`."""
        return fork(self.address, module, arguments, descriptors, **how)


class Forked:
    """A child of the nursery: as much of `subprocess.Popen` as we use."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._line = line  # by which the nursery tells how it ended

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def kill(self) -> None:
        self.send_signal(SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _wait(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], timeout_s)[0]:
            said = self._line.recv(CHUNK_BYTES)
            self.returncode = int(said) if said else -SIGKILL  # the nursery itself is gone
            self._line.close()
        return self.returncode


def fork(
    address: Path,
    module: str,
    arguments: Sequence[str],
    descriptors: Mapping[int, int],
    *,
    environment: Mapping[str, str] | None = None,
    failpoint: str = "",
    overtaken_at: int | None = None,
    forks_followers: bool = False,
    forks_one_shots: bool = False,
) -> Forked:
    """Have the nursery at `address` do what `python -P -m module arguments` does, in a session of its own.

    Args:
        arguments: the number behind `--parent-pid` becomes the nursery's.
        descriptors: of this process, by the numbers they get in the other one; without 0 it reads nothing.
        environment: None for that of this process.
        failpoint: where it is to die.
        overtaken_at: the step at which it waits to be overtaken.
        forks_followers: have its followers, too, come from the nursery.
        forks_one_shots: and the processes that carry out one order; it may be such a one itself.
    """
    order = {
        "module": module,
        "arguments": [*arguments],
        "descriptors": [*descriptors],
        "environment": dict(os.environ if environment is None else environment),
        "folder": str(Path.cwd()),
        "failpoint": failpoint,
        "overtaken_at": overtaken_at,
        "followers_from": str(address) if forks_followers else None,
        "one_shots_from": str(address) if forks_one_shots else None,
    }
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(address))
    with line.makefile("wb") as whole:
        socket.send_fds(line, [b"."], [*descriptors.values()])
        whole.write(json.dumps(order).encode() + b"\n")
    return Forked(int(line.recv(CHUNK_BYTES)), line)


def forked_popen(address: Path) -> Callable[..., Forked]:
    """Return what a module can have for `subprocess.Popen`, so that the nursery forks what it starts."""

    def popen(command: list[str], *, pass_fds: Sequence[int], env: Mapping[str, str], **how: Any) -> Forked:
        python, isolation, is_module, module, *arguments = command
        assert [python, isolation, is_module] == [sys.executable, "-P", "-m"], command
        assert how.keys() <= {"stdin"}, f"{how.keys()} are not known here"
        descriptors = {number: number for number in (1, 2, *pass_fds)}
        return fork(address, module, arguments, descriptors, environment=env)

    return popen


class ForkedWorker(LocalProcess):
    """A worker that is a child of the nursery, which may have taken note of its end before anybody here."""

    def signal(self, number: Signals) -> None:
        with suppress(ProcessLookupError):
            super().signal(number)


class NurseryLauncher:
    """Starts workers through a nursery.

    Args:
        address: of the nursery's socket.
    """

    def __init__(self, address: Path) -> None:
        self._address = address

    def launch(self, layout: Layout) -> Launched:
        ours, theirs = socket.socketpair()
        number = theirs.fileno()
        arguments = ["--base-dir", str(layout.base), "--channel-fd", str(number), "--parent-pid", "0"]
        with theirs, open_stderr(layout) as stderr:
            child = fork(
                self._address,
                "trainer.mains.worker",
                arguments,
                {number: number, 1: stderr.fileno(), 2: stderr.fileno()},
                environment=worker_environment(),
                failpoint=self._failpoint(layout),
                overtaken_at=self._overtaken_at(layout),
                forks_followers=(layout.base / "forks-followers").exists(),
            )
        return Launched(ForkedWorker(child, stderr_file(layout)), ours)  # type: ignore[arg-type]

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


def name_of(module: str) -> str:
    """Return what a process that runs a module of ours is called by the system."""
    return module.rpartition(".")[2]


def workers_of(base: Path) -> list[psutil.Process]:
    """Return the processes of a working directory's workers and followers, however these were started."""
    logs = str(base.resolve() / "logs" / "worker.stderr")
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            if os.readlink(f"/proc/{pid}/fd/2").startswith(logs):
                found.append(psutil.Process(pid))
    return found


# ---- the process


def main() -> None:
    """Serve orders for ever."""
    _, address, patron, *modules = sys.argv
    import_for_children(modules)
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    print("ready", flush=True)
    children: dict[int, socket.socket] = {}
    patrons_end = os.pidfd_open(int(patron))
    while True:
        ready = select.select([server, patrons_end], [], [], 0.01)[0]
        if patrons_end in ready:
            break
        if ready:
            line, _ = server.accept()
            start(line, server, children)
        while children and (ended := os.waitpid(-1, os.WNOHANG)) and ended[0]:
            line = children.pop(ended[0])
            with suppress(OSError):  # its daemon may be gone
                line.sendall(str(os.waitstatus_to_exitcode(ended[1])).encode())
            line.close()
    for child in children:
        os.kill(child, SIGKILL)


def import_for_children(modules: Sequence[str]) -> None:
    """Import modules, or everything if there are none, as strictly as pytest would."""
    gc.disable()  # there is no garbage, and to find that out takes a second
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in modules:
            import_module(module)
        if not modules:
            import_everything()
    gc.freeze()  # nor do children look again
    gc.enable()


def start(line: socket.socket, server: socket.socket, children: dict[int, socket.socket]) -> None:
    """Fork one process."""
    message, descriptors = b"", []
    with suppress(OSError):
        message, descriptors, _, _ = socket.recv_fds(line, 1, MOST_DESCRIPTORS)
        with line.makefile("rb") as whole:
            message = whole.readline()
    if message.endswith(b"\n"):
        pid = os.fork()
        if pid == 0:
            for ours in (line, server, *children.values()):
                ours.close()
            os.setsid()
            become(json.loads(message), descriptors)
        children[pid] = line
        with suppress(OSError):  # who ordered it may have been killed meanwhile
            line.sendall(str(pid).encode())
    for descriptor in descriptors:
        os.close(descriptor)


def become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Do what a fresh process of `order` does."""
    from trainer.protocol import failpoints

    give_numbers(dict(zip(order["descriptors"], descriptors, strict=True)))
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failpoints.arm(order["failpoint"] or os.environ.get(failpoints.VARIABLE, ""))
    if order["overtaken_at"] is not None:
        wait_to_be_overtaken(order["overtaken_at"])
    arguments = order["arguments"]
    if "--parent-pid" in arguments:
        arguments[arguments.index("--parent-pid") + 1] = str(os.getppid())
    sys.argv = [order["module"], *arguments]
    if order["followers_from"]:
        fork_followers(Path(order["followers_from"]))
    if order["one_shots_from"]:
        become_one_shot(Path(order["one_shots_from"]))
    Path("/proc/self/comm").write_text(name_of(order["module"]))
    os._exit(code_of(order["module"]))


def code_of(module: str) -> int:
    """Run a module as the main one; return its exit code."""
    try:
        sys.modules.pop(module, None)  # as in a fresh process, where the main one has another name
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()


def give_numbers(received: dict[int, int]) -> None:
    """Give descriptors their numbers; without a 0 there is nothing to be read there."""
    if 0 not in received:
        received = {0: os.open(os.devnull, os.O_RDONLY)} | received
    apart = {
        number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, FREE_DESCRIPTORS)
        for number, descriptor in received.items()
    }
    for descriptor in received.values():
        os.close(descriptor)
    for number, descriptor in apart.items():
        os.dup2(descriptor, number)
        os.close(descriptor)


def fork_followers(address: Path) -> None:
    """Have the nursery fork the followers of this worker."""
    from trainer.distributed import followers

    forking = SimpleNamespace(Popen=forked_popen(address), DEVNULL=subprocess.DEVNULL)
    followers.subprocess = forking  # type: ignore[assignment]


def become_one_shot(address: Path) -> None:
    """Have the nursery fork what this process orders, and this process end with the one that ordered it."""
    from tests.crash.forked_one_shots import end_with, fork_one_shots
    from trainer.mains import one_shot

    fork_one_shots(address)
    one_shot.die_with = end_with


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
    """Import what a worker imports in its first seconds, and a daemon."""
    import peft
    import transformers.models.qwen3.modeling_qwen3
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    from daemon import app
    from trainer.mains import worker
    from trainer.session import engine

    for module in ("back_up", "disk", "forget", "go_back"):
        import_module(f"trainer.mains.{module}")
    import_module("daemon.cli.training_models")
    with suppress(ImportError):
        import_module("bitsandbytes")  # for those that train an adapter
    del app, peft, transformers, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, worker, engine


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
