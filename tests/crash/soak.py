"""Hours of use and abuse in minutes: every kind of fault at random, and at the end a table of what held.

python -m tests.crash.soak --minutes 30
"""

import argparse
import json
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.crash.chaos import FOLDERS, ROWS, bring_to_an_end
from tests.crash.lab import ROOT, Lab, Nursery
from tests.crash.model_life import ModelLife, settings_for_life
from tests.support import PATIENCE_S, files_below

MEASURE_EVERY_S = 20.0
LEAST_MEASUREMENTS = 4
MOST_GROWTH = {"rss_bytes": 8_000_000, "open_files": 8}
MOST_WAITING = 30  # files; or what waits after hours of other acts is trained for hours
GARBAGE = (b"", b"\x00\xff\xfe", b'{"id": ', b'["pause"]', b'{"id": {"a": 1}}' + b" " * 10_000)


@dataclass(frozen=True)
class Size:
    """What the daemon uses at one moment."""

    rss_bytes: int
    open_files: int
    disk_bytes: int
    """Without the users' files, which grow with every file trained."""


class Soak:
    """Random acts against one lab.

    Args:
        life: what else people do to its model.
        seed: chooses them.
    """

    def __init__(self, lab: Lab, life: ModelLife, seed: int) -> None:
        self._lab = lab
        self._life = life
        self._chance = random.Random(seed)
        self.acts: Counter[str] = Counter()
        self.sizes: list[Size] = []
        self._measured_at = 0.0
        self._acts: list[Callable[[], None]] = [
            *[self.drop] * 6,
            *[self.drop_bad_rows] * 2,
            self.drop_bad_file,
            self.pause_and_resume,
            self.skip,
            self.write_garbage_requests,
            self.break_config,
            self.freeze_worker,
            self.kill,
            self.stop_and_start,
            self.start_second_daemon,
            self.remove_status,
            *life.acts,
        ]

    def run(self, seconds: float) -> None:
        """Act until the time is over."""
        self._lab.start()
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            act = self._chance.choice(self._acts)
            self.acts[act.__name__] += 1
            act()
            self._lab.let_time_pass(1.0)
            self._life.look_after()
            if time.monotonic() - self._measured_at > MEASURE_EVERY_S:
                self._measured_at = time.monotonic()
                self._measure()

    # ---- a user's acts

    def drop(self) -> None:
        if self._lab.num_waiting < MOST_WAITING:
            self._lab.drop(self._chance.choice(ROWS), self._chance.choice(FOLDERS))

    def drop_bad_rows(self) -> None:
        self._lab.drop(200, self._chance.choice(FOLDERS), bad_rows=1)

    def drop_bad_file(self) -> None:
        self._lab.drop_bad()

    def pause_and_resume(self) -> None:
        self._lab.ask("pause")
        self._lab.let_time_pass(1.0)
        self._lab.ask("resume")

    def skip(self) -> None:
        self._lab.skip()

    # ---- faults

    def write_garbage_requests(self) -> None:
        path = self._lab.layout.control / self._chance.choice([".resume", ".nonsense", "pause", ".pause.tmp"])
        path.write_bytes(self._chance.choice(GARBAGE))

    def break_config(self) -> None:
        self._lab.until_up()  # one that is just starting refuses such a file, as it should
        path = self._lab.layout.config_file
        whole = path.read_bytes()
        path.write_bytes(whole[: self._chance.randrange(len(whole))])
        self._lab.let_time_pass(1.0)
        path.write_bytes(whole)

    def freeze_worker(self) -> None:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for worker in self._lab.workers():
                worker.send_signal(number)
            self._lab.let_time_pass(2.0)

    def kill(self) -> None:
        self._lab.kill_something()

    def stop_and_start(self) -> None:
        self._lab.stop()
        self._lab.start()

    def start_second_daemon(self) -> None:
        self._lab.until_up()  # one that is just starting might come second
        command = [
            sys.executable,
            "-m",
            "daemon.cli.training_daemon",
            "--base-dir",
            str(self._lab.layout.base),
        ]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
        if "already running" not in second.stderr:
            raise AssertionError(f"a second daemon was not refused: {second.stderr[-500:]}")

    def remove_status(self) -> None:
        self._lab.layout.status_file.unlink(missing_ok=True)

    # ---- sizes

    def _measure(self) -> None:
        daemon = self._lab.daemon_process()
        if daemon is None or self._lab.num_checkpoints() < 3:
            return  # until there are as many as are kept, the disk fills up as it should
        layout = self._lab.layout
        disk = sum(map(_bytes_of, files_below(layout.models, layout.status, layout.control)))
        try:
            self.sizes.append(Size(daemon.memory_info().rss, daemon.num_fds(), disk))
        except psutil.Error:
            return  # just killed


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # just removed


def growth(sizes: Sequence[Size]) -> list[str]:
    """Return what the daemon uses more and more of; a few measurements say nothing of that."""
    third = len(sizes) // 3
    if third < LEAST_MEASUREMENTS:
        return []
    early, late = sizes[:third], sizes[-third:]
    found = []
    for name, tolerated in MOST_GROWTH.items():
        before, after = (max(getattr(size, name) for size in part) for part in (early, late))
        if after > before + tolerated:
            found.append(
                f"{name} of the daemon grew from {before:,} to {after:,}; expected {tolerated:,} at most"
            )
    return found


def table(soak: Soak, lab: Lab, life: ModelLife, problems: list[str]) -> str:
    """Return what happened and what held, for people."""
    lines = [f"{name.replace('_', ' '):28}{count:6}" for name, count in sorted(soak.acts.items())]
    lines += ["", *life.lines(), ""]
    lines += [f"{'killed: ' + what:28}{count:6}" for what, count in sorted(lab.kills.items())]
    lines += [
        f"{'steps of the model':28}{lab.num_steps():6}",
        f"{'files completed':28}{len(lab.completed()):6}",
        "",
    ]
    for name in ("rss_bytes", "open_files", "disk_bytes"):
        values = [getattr(size, name) for size in soak.sizes]
        third = max(1, len(values) // 3)
        early, late = values[:third], values[-third:]
        if values:
            lines.append(
                f"{name:16} first third at most {max(early):>12,}   last third at most {max(late):>12,}"
            )
    lines += ["", *(f"PROBLEM: {problem}" for problem in problems)]
    lines.append(
        "every file in one place, every row trained once, weights bit-identical" if not problems else ""
    )
    return "\n".join(lines)


def main() -> int:
    """Return 0 if everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--method", choices=["full", "lora", "qlora"], default="full")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"in {folder}, which is removed if everything holds", flush=True)
    nursery = Nursery(folder)
    sections = settings_for_life(folder, "lab")
    lab = Lab(
        folder / "lab",
        nursery,
        seed=wanted.seed,
        method=wanted.method,
        forks_daemon=False,
        sections=sections,
    )
    life = ModelLife(lab, wanted.seed)
    soak = Soak(lab, life, wanted.seed)
    try:
        soak.run(wanted.minutes * 60)
        problems = [*bring_to_an_end(lab, life), *growth(soak.sizes)]
    finally:
        lab.close()
    print(table(soak, lab, life, problems))
    print(json.dumps({"seed": wanted.seed, "problems": problems, "acts": soak.acts}))
    if not problems:
        shutil.rmtree(folder)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
