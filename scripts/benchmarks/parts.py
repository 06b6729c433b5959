"""Measure a benchmark's runs side by side, and keep each: what ends early continues with the others."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scripts.benchmarks.turns import tell

Asked = tuple[str | int, ...]


def measured_in_parts(
    measure: Callable[[Asked], Any], asked: Sequence[Asked], *, folder: Path | None, processes: int
) -> Iterator[Any]:
    """Yield what `measure` returns for each of `asked`, in their order.

    Args:
        measure: a function of a module; what it returns can be written as JSON.
        asked: each names one run; its result is kept as `folder/NAME.json`.
        folder: None keeps nothing.
        processes: how many runs take place at the same time.
    """
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        runs: list[tuple[str, Future[Any]]] = []
        for of_run in asked:
            name = "-".join(str(part) for part in of_run).replace(" ", "_")
            runs.append((name, pool.submit(_measured, measure, of_run, folder and folder / f"{name}.json")))
        for name, run in runs:
            yield run.result()
            tell(f"{name}: done")


def _measured(measure: Callable[[Asked], Any], asked: Asked, kept: Path | None) -> Any:
    if kept and kept.exists():
        return json.loads(kept.read_text())
    found = measure(asked)
    if kept:
        unfinished = kept.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found))
        unfinished.replace(kept)
    return found
