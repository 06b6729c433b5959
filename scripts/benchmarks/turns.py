"""Let several contenders take turns on one machine: while one computes, the others are stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from daemon.supervision.launcher import worker_environment
from scripts.benchmarks.contenders.task import Task

LAST_WORDS = 4096  # characters of what a contender that died has printed
OURS = ("ours", "timed")

ITS_ENVIRONMENT = (
    "import json; from daemon.supervision.launcher import worker_environment as e; print(json.dumps(e()))"
)


def _environment(module: str, root: Path | None) -> dict[str, str]:
    """Return a contender's environment: ours is that which the daemon of its checkout gives to its worker."""
    if module not in OURS:
        return dict(os.environ)
    if root is None:
        return worker_environment()
    here = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", ITS_ENVIRONMENT]
    printed = subprocess.run(command, cwd=root, env=here, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(printed))


class Died(RuntimeError):
    """A contender ended before it had finished; the message is the last it printed."""


@dataclass
class Outcome:
    """What one contender measured."""

    turn_s: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """As `Side.result`; empty when it did not finish."""
    why_not: str | None = None
    """Why there is nothing to compare."""


class Contender:
    """One process that trains when it is its turn.

    Args:
        module: in `scripts.benchmarks.contenders`.
        root: the checkout that it is taken from; None is this one.
    """

    def __init__(self, module: str, task: Task, root: Path | None = None) -> None:
        folder = Path(task.folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"scripts.benchmarks.contenders.{module}",
                str(task.write(folder / "task.json")),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=root,
            env=_environment(module, root) | {"OMP_NUM_THREADS": str(task.threads)},
        )

    def listen(self) -> dict[str, Any]:
        """Return what it says next, and stop it.

        Raises:
            Died: it says nothing any more.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise Died(self._last_words())
        self._process.send_signal(signal.SIGSTOP)
        return dict(json.loads(line))

    def go(self) -> None:
        """Let it take its turn."""
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace")[-LAST_WORDS:].strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


def compare(
    contenders: Mapping[str, tuple[str, Task]], roots: Mapping[str, Path] | None = None
) -> dict[str, Outcome]:
    """Let contenders train in turns; the order of the turns changes from round to round.

    Args:
        contenders: name -> module and task. All tasks have equally many turns.
        roots: name -> checkout that a contender is taken from; without one it is this one.
    """
    outcomes = {name: Outcome() for name in contenders}
    with _started(contenders, outcomes, roots or {}) as running:
        turns = max((task.turns for _, task in contenders.values()), default=0)
        for turn in range(turns):
            for name in _rotated(list(running), turn):
                _advance(name, running, outcomes)
                tell(f"turn {turn + 1} of {turns}: {name}")
        for name in list(running):
            _advance(name, running, outcomes)  # the last step, and the save
    return outcomes


def alone(module: str, task: Task) -> Outcome:
    """Let one contender train by itself, from the start of its process to its end."""
    outcome = Outcome()
    contender = Contender(module, task)
    try:
        while not outcome.facts:
            said = contender.listen()
            contender.go()
            outcome.facts = said.get("result", {})
    except Died as death:
        outcome.why_not = str(death)
    finally:
        contender.close()
    return outcome


@contextmanager
def _started(
    contenders: Mapping[str, tuple[str, Task]], outcomes: dict[str, Outcome], roots: Mapping[str, Path]
) -> Iterator[dict[str, Contender]]:
    """Start one after the other, each up to its first turn; end them all at last."""
    running: dict[str, Contender] = {}
    started = []
    try:
        for name, (module, task) in contenders.items():
            tell(f"starting {name}")
            running[name] = Contender(module, task, roots.get(name))
            started.append(running[name])
            _hear(name, running, outcomes)
        yield running
    finally:
        for contender in started:
            contender.close()


def _advance(name: str, running: dict[str, Contender], outcomes: dict[str, Outcome]) -> None:
    if name in running:
        running[name].go()
        said = _hear(name, running, outcomes)
        if "seconds" in said:
            outcomes[name].turn_s.append(said["seconds"])
        outcomes[name].facts = said.get("result", {})


def _hear(name: str, running: dict[str, Contender], outcomes: dict[str, Outcome]) -> dict[str, Any]:
    try:
        return running[name].listen()
    except Died as death:
        tell(f"{name} ended: {death}")
        outcomes[name].why_not = str(death)
        del running[name]
        return {}


def _rotated(names: Sequence[str], by: int) -> list[str]:
    by %= max(1, len(names))
    return [*names[by:], *names[:by]]


def tell(text: str) -> None:
    """Say how far it has come."""
    print(f"  {text}", file=sys.stderr, flush=True)
