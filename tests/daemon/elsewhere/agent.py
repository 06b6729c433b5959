"""Answers for the workers of its machine: starts and signals them, and says how they are, over TCP.

    python -m tests.daemon.elsewhere.agent FOLDER

It finds its secret in the environment, prints its address, and goes on in the background, so that nothing it
starts descends from the process that started it. It ends, with its workers, when its standard input does.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon.supervision.local_launcher import LocalProcess
from trainer.protocol.handshake import SECRET_VARIABLE, take_secret
from trainer.protocol.tcp import Listener

FOREIGN = 1 << 22  # added to process numbers: no process of this machine has one that is larger
TAIL_BYTES = 16384
POLL_S = 0.01
FOR_EVER_S = 1e6


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    secret = take_secret(None)
    listener = Listener("127.0.0.1", secret)
    print(listener.address, flush=True)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    processes: list[LocalProcess] = []
    threading.Thread(target=end_with_input, args=[processes], daemon=True).start()
    while True:
        connection = listener.accept(FOR_EVER_S)
        stderr = folder / f"{len(processes)}.stderr"
        threading.Thread(target=serve, args=[connection, processes, stderr, secret], daemon=True).start()


def end_with_input(processes: list[LocalProcess]) -> None:
    """End everything when whoever started this process is gone."""
    sys.stdin.read()
    for process in processes:
        process.signal(signal.SIGKILL)
    os._exit(0)


def serve(connection: socket.socket, processes: list[LocalProcess], stderr: Path, secret: bytes) -> None:
    """Start the worker that is ordered over a connection, and answer for it until it has ended."""
    requests = connection.makefile("r")
    order = json.loads(requests.readline())
    with stderr.open("wb") as file:
        child = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=order["environment"] | {SECRET_VARIABLE: secret.decode()},
            start_new_session=True,
        )
    process = LocalProcess(child, stderr)
    processes.append(process)
    say(connection, FOREIGN + process.pid)
    is_asked = True
    while (exit_code := process.poll()) is None:
        if select.select([connection] if is_asked else [], [], [], POLL_S)[0]:
            request = requests.readline()
            is_asked = bool(request)  # the daemon may be gone: its worker notices by itself
            if request:
                answer(connection, process, *json.loads(request))
    with suppress(OSError):
        say(
            connection, {"exit_code": exit_code, "oom_kills": process.oom_kills(), "words": words_of(process)}
        )
    connection.close()


def answer(connection: socket.socket, process: LocalProcess, what: str, *number: int) -> None:
    """Do or say one thing about a worker."""
    match what:
        case "signal":
            process.signal(signal.Signals(*number))
        case "signs":
            say(connection, asdict(process.signs()))
        case "memory":
            say(connection, process.memory_bytes())
        case "oom_kills":
            say(connection, process.oom_kills())
        case "words":
            say(connection, words_of(process))


def words_of(process: LocalProcess) -> str:
    return process.last_words(TAIL_BYTES)


def say(connection: socket.socket, value: Any) -> None:
    connection.sendall(json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    main()
