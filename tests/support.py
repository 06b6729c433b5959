"""What tests share: rows, files, a clock that is a number, and waiting without sleeping blindly."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer.protocol.job import Job, Priority

PATIENCE_S = 300.0
"""For what another process or thread does: a busy machine takes its time. Whoever waits goes on at once."""


class FakeClock:
    """A clock that stands still until it is told the time."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class PowerCut(BaseException):
    """Stands for the instant after which nothing is done any more."""


def row(question: str = "Reverse: a b", answer: str = "b a") -> dict[str, Any]:
    """Return one trainable row."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def rows(number: int, start: int = 0) -> list[dict[str, Any]]:
    """Return different trainable rows."""
    return [row(f"Say {i}.", f"{i} it is.") for i in range(start, start + number)]


def write_jsonl(path: Path, content: Sequence[Any]) -> Path:
    """Write values as JSON lines; a text or bytes goes in as it is."""
    lines = [
        item if isinstance(item, bytes) else (item if isinstance(item, str) else json.dumps(item)).encode()
        for item in content
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def job_for(path: Path, *, id: str = "20260101-000000-000001", **fields: Any) -> Job:
    """Return the job that a checked file would become."""
    content = path.read_bytes()
    facts: dict[str, Any] = {
        "id": id,
        "name": path.name,
        "priority": Priority.NORMAL,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": sum(1 for line in content.split(b"\n") if line.strip()),
        "size_bytes": len(content),
    }
    return Job(**(facts | fields))


def eventually(
    condition: Callable[[], Any], *, timeout_s: float = PATIENCE_S, what: str = "the condition"
) -> Any:
    """Return the first true value of `condition`, failing after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {timeout_s} s")
        time.sleep(0.01)
    return value


class Cases:
    """Many small cases in one test: each is tried, and all that failed are named at the end.

    with every_case() as cases:
        for number in range(1000):
            with cases.case(f"number {number}"):
                assert is_fine(number)
    """

    def __init__(self) -> None:
        self.number = 0
        self.failures: list[str] = []

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Try one case; the next is tried whatever comes of it."""
        self.number += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:
            self.failures.append(f"---- {name}: {type(error).__name__}: {error}")


def files_below(*folders: Path) -> Iterator[Path]:
    """Yield all files; folders that another process removes meanwhile are passed over, unlike by `rglob`."""
    for folder in folders:
        for place, _, names in os.walk(folder):
            yield from (Path(place, name) for name in names)


@contextmanager
def every_case() -> Iterator[Cases]:
    """Fail at the end with every case that failed, or when there was none."""
    cases = Cases()
    yield cases
    assert cases.number, "no case was tried"
    if cases.failures:
        failed = "\n".join(cases.failures)
        pytest.fail(f"{len(cases.failures)} of {cases.number} cases failed\n{failed}", pytrace=False)
