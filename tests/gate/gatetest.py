"""Measure the gate: good, bad and noisy files in random order through a real daemon, with the tiny model.

A good file must never be refused, a bad one always; of a noisy one the rows of noise must be named.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.client.known_file import report_on
from daemon.ledger.gate_verdicts import RecordedVerdict, read_verdicts
from tests.gate.files import BAD, good, noisy
from tests.support import write_jsonl
from trainer.protocol.data_report import OUTLIERS
from trainer.protocol.files import UnreadableFile, file_sha256, read_json
from trainer.protocol.layout import Layout

ROWS = 300
KILL_AFTER_S = (0.0, 8.0)
LOOK_EVERY_S = 0.05
FIRST_GOOD = 8  # from which the model learns what is good
NOISE_SHARE = 0.2
NOISES = ("foreign", "wrong")  # kinds of files of which a share is spoilt
CONFIG: dict[str, Any] = {
    "training": {"batch_size": 8, "gradient_accumulation": 1, "cpu_threads": 1},
    "validation": {"file": "validation.jsonl", "suites": {"skills": "suite.jsonl"}, "max_rows": 300},
    "monitoring": {"max_overhead_percent": 5},
    "gate": {"enabled": True, "group_rows": 1},
}


@dataclass
class Dropped:
    """What was dropped, and what should be found in it."""

    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    noisy: dict[str, set[int]] = field(default_factory=dict)
    """Names, with the lines of noise."""


def fill(
    base: Path,
    rng: random.Random,
    *,
    num_good: int,
    num_bad: int,
    num_noisy: int,
    rows: int,
    bad_rows: int,
    average: str,
) -> Dropped:
    """Write configuration, validation rows and the files, in an order by chance after the first good ones."""
    inbox = base / "inbox"
    inbox.mkdir(parents=True)
    training = CONFIG["training"] | {"average": average}
    (base / "config.json").write_text(json.dumps(CONFIG | {"training": training}))
    write_jsonl(base / "validation.jsonl", good(rng, rows))
    write_jsonl(base / "suite.jsonl", good(rng, 100))
    kinds = ["good"] * (num_good - FIRST_GOOD)
    kinds += [NOISES[number % len(NOISES)] for number in range(num_noisy)]
    kinds += [list(BAD)[number % len(BAD)] for number in range(num_bad)]
    rng.shuffle(kinds)
    dropped = Dropped()
    for number, kind in enumerate(["good"] * FIRST_GOOD + kinds):
        name = f"{number:03}-{kind}.jsonl"
        if kind == "good":
            content = good(rng, rows)
            dropped.good.append(name)
        elif kind in NOISES:
            content, dropped.noisy[name] = noisy(rng, rows, NOISE_SHARE, kind=kind)
        else:
            content = BAD[kind](rng, bad_rows)
            dropped.bad.append(name)
        path = write_jsonl(inbox / name, content)
        os.utime(path, (1_700_000_000 + number,) * 2)  # files are taken in by age
    return dropped


def train(base: Path, rng: random.Random, *, kills: int = 0) -> float:
    """Run a daemon until everything is trained; return the seconds.

    Args:
        kills: how often daemon, worker or both are killed before it may come to the end.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(base), "--once"]
    with (base / "output.txt").open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while trains(base, process, rng.uniform(*KILL_AFTER_S) if kills else None):
            kills -= 1
            victims = rng.choice((("daemon",), ("worker",), ("daemon", "worker")))
            kill(base, process, victims)
            if "daemon" in victims:
                process = subprocess.Popen(command, stdout=output, stderr=output)
    return time.monotonic() - started


def trains(base: Path, process: "subprocess.Popen[bytes]", seconds: float | None) -> bool:
    """Wait until it has trained for so long, or is done if that is None; return whether it still runs."""
    if seconds is None:
        process.wait()
        return False
    until = None
    while process.poll() is None and (until is None or time.monotonic() < until):
        time.sleep(LOOK_EVERY_S)
        if until is None and status_of(base) == "training":
            until = time.monotonic() + seconds
    return process.poll() is None


def status_of(base: Path) -> str | None:
    """Return what the daemon says that it is doing."""
    with suppress(OSError, UnreadableFile):
        found: str | None = read_json(Layout(base).status_file).get("status")
        return found
    return None


def kill(base: Path, process: "subprocess.Popen[bytes]", victims: Sequence[str]) -> None:
    """Kill a daemon, its worker or both, as a power cut would."""
    worker = read_json(Layout(base).status_file).get("worker_pid")
    if "daemon" in victims:
        process.kill()
        process.wait()
    if "worker" in victims and worker:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def same_with_kills(base: Path, again: Path, rng: random.Random, kills: int) -> bool:
    """Train the same files again under kills; return whether the same ones fail and the weights are equal."""
    for name in ("inbox", "config.json", "validation.jsonl", "suite.jsonl"):
        copy = shutil.copytree if name == "inbox" else shutil.copy2
        copy(base.with_name(f"{base.name}.files") / name, again / name)
    seconds = train(again, rng, kills=kills)
    is_same = failed_files(base) == failed_files(again), weights(base) == weights(again)
    print(f"{kills} kills in {seconds:.0f} s: same files refused: {is_same[0]}, equal weights: {is_same[1]}")
    return all(is_same)


def failed_files(base: Path) -> set[str]:
    """Return the names of the files that have failed."""
    return {path.name for path in Layout(base).failed.glob("*.jsonl")}


def weights(base: Path) -> str:
    """Return a hash of the newest weights."""
    return file_sha256(Layout(base).models / "current_model" / "model.safetensors")


def main() -> int:
    """Return 0 if no good file was refused and every bad one was."""
    parser = argparse.ArgumentParser(prog="scripts/gatetest", description=__doc__)
    parser.add_argument("--good", type=int, default=50)
    parser.add_argument("--bad", type=int, default=12)
    parser.add_argument("--noisy", type=int, default=6)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--bad-rows", type=int, help="of a bad file; as many as of a good one if not given")
    parser.add_argument("--average", choices=["none", "ema", "window"], default="none")
    parser.add_argument("--kills", type=int, default=0, help="train it all again, with so many kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the working directory here")
    wanted = parser.parse_args()
    base = wanted.keep or Path(tempfile.mkdtemp(prefix="gatetest-"))
    rng = random.Random(wanted.seed)
    dropped = fill(
        base,
        rng,
        num_good=wanted.good,
        num_bad=wanted.bad,
        num_noisy=wanted.noisy,
        rows=wanted.rows,
        bad_rows=wanted.bad_rows or wanted.rows,
        average=wanted.average,
    )
    originals = base.with_name(f"{base.name}.files")
    shutil.copytree(base, originals)
    seconds = train(base, rng)
    is_well = report(Layout(base), dropped, seconds)
    if wanted.kills:
        again = base.with_name(f"{base.name}.killed")
        again.mkdir()
        is_well &= same_with_kills(base, again, rng, wanted.kills)
    return 0 if is_well else 1


def report(layout: Layout, dropped: Dropped, seconds: float) -> bool:
    """Print what was found; return whether all is as it should be."""
    verdicts = read_verdicts(layout.ledger_file, limit=10_000)
    by_file = {file.name: verdict for verdict in verdicts for file in verdict.files}
    failed = failed_files(layout.base)
    false_alarms = [name for name in dropped.good if name in failed]
    missed = [name for name in dropped.bad if name not in failed]
    print(f"{len(dropped.good)} good files: {len(false_alarms)} refused {' '.join(false_alarms)}")
    show_spread([by_file[name] for name in dropped.good[FIRST_GOOD:] if name in by_file])
    print(f"{len(dropped.bad)} bad files: {len(missed)} not refused {' '.join(missed)}")
    show_spread([by_file[name] for name in dropped.bad if name in by_file])
    precise = show_rows(layout, dropped, failed)
    print(f"{seconds:.0f} s; {layout.base}")
    return not false_alarms and not missed and precise


def show_spread(verdicts: list[RecordedVerdict]) -> None:
    """Print the range of what was measured, for each kind of weights that was."""
    for weights in (None, "average", "last"):
        losses = [item for verdict in verdicts for item in verdict.losses if item.weights == weights]
        found = [item for item in losses if item.against == "before"]
        if found:
            rises, certain = [100 * item.increase for item in found], [item.t for item in found]
            rise = f"{min(rises):+.1f} … {max(rises):+.1f} %, t {min(certain):.1f} … {max(certain):.1f}"
            print(f"  {weights or ''} loss {rise}")
        drops = [item.drop for verdict in verdicts for item in verdict.suites if item.weights == weights]
        if drops:
            print(f"  {weights or ''} suite {-max(drops):+.0f} … {-min(drops):+.0f} points")


def show_rows(layout: Layout, dropped: Dropped, failed: set[str]) -> bool:
    """Print how well spoilt rows were told from others; return whether the foreign ones were quarantined."""
    for kind in NOISES:
        files = {name: lines for name, lines in dropped.noisy.items() if kind in name}
        quarantined = [name for name in files if name in failed]
        found = {name: outlier_lines(layout, name) for name in files}
        right = sum(len(found[name] & lines) for name, lines in files.items())
        named, there = sum(map(len, found.values())), sum(map(len, files.values()))
        print(f"{len(files)} files with {NOISE_SHARE:.0%} {kind} answers: {len(quarantined)} quarantined")
        shares = f"precision {right / max(1, named):.3f}, recall {right / max(1, there):.3f}"
        print(f"  rows: {shares} ({right} of {there} spoilt ones named, {named - right} others)")
    innocent = sum(len(outlier_lines(layout, name)) for name in dropped.good[FIRST_GOOD:])
    print(f"  rows named in {len(dropped.good[FIRST_GOOD:])} good files: {innocent}")
    return all(name in failed for name in dropped.noisy if "foreign" in name)


def outlier_lines(layout: Layout, name: str) -> set[int]:
    """Return the lines that the report on a file names."""
    findings = report_on(layout, name).findings
    return {line for finding in findings if finding.rule == OUTLIERS for line in finding.lines}


if __name__ == "__main__":
    sys.exit(main())
