"""What every benchmark leaves behind: a table on the screen, and JSON with the machine and the versions."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table as RichTable

NOT_MEASURED = "not measured"
PACKAGES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets")

Cell = str | float | int | None
"""None: not measured."""


@dataclass(frozen=True)
class Table:
    """Rows under a headline."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def parser_for(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.benchmarks.{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a short run that shows whether it works")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (default: 2)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write FOLDER/NAME.json, for scripts.benchmarks.report"
    )
    return parser


def publish(
    name: str, options: argparse.Namespace, tables: Sequence[Table], data: dict[str, Any] | None = None
) -> None:
    """Print the tables; write them as JSON if a folder was given."""
    for table in tables:
        _print(table)
    if options.out is None:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": name,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([f"python -m scripts.benchmarks.{name}", *sys.argv[1:]]).replace("'", ""),
        "quick": options.quick,
        "machine": machine(),
        "versions": versions(),
        "tables": [asdict(table) for table in tables],
        "data": data or {},
    }
    path = options.out / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path}", file=sys.stderr)


def _print(table: Table) -> None:
    shown = RichTable(title=table.title, title_justify="left")
    for i, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(text_of(cell) for cell in row))
    Console(width=140).print(shown)


def text_of(cell: Cell) -> str:
    """Return a cell for people."""
    match cell:
        case None:
            return NOT_MEASURED
        case float():
            return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
        case int():
            return f"{cell:,}"
        case str():
            return cell


def machine() -> dict[str, Any]:
    """Return what is known of this machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "gpu": _gpu(),
    }


def _processor() -> str | None:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def _gpu() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of what is compared."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def median(values: Sequence[float]) -> float | None:
    """Return the median; None of nothing."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least `percent` of all do not exceed; None of nothing."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, int(rank) - 1)]
