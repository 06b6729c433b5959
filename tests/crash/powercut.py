"""Cut the power at random instants: what was announced must be there afterwards, and nothing half.

    python -m tests.crash.powercut --cuts 50        as root

A process publishes checkpoints and moves files through the queue's folders on an ext4 file system in an image
file, and announces what is done. What the kernel still holds in memory is not in the image. So a copy of the
image, made while the process stands still, is what a disk looks like after the power has failed. Each copy is
mounted and examined.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.store import CheckpointStore
from trainer.protocol.files import move_durably, sync_directory, sync_file
from trainer.protocol.job import Outcome, Priority
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Origin, Progress

IMAGE_BYTES = 96 * 1024 * 1024
LONGEST_CALM_S = 0.3
ROOT = Path(__file__).parent.parent.parent


# ---- the process whose power fails


def write_for_ever(base: Path) -> None:
    """Publish checkpoints and move files, and say what is durable."""
    layout = Layout(base)
    layout.create()
    os.sync()
    store = CheckpointStore(layout.models)
    chance = random.Random(1)
    number = 0
    while True:
        number += 1
        content = chance.randbytes(chance.randrange(1, 300_000))

        def write(folder: Path, content: bytes = content) -> None:
            (folder / "model.safetensors").write_bytes(content)
            (folder / "optimizer.pt").write_bytes(content[::-1])

        store.save(
            write,
            origin=Origin(base_model="none", method="full", versions={}),
            progress=Progress(global_step=number),
            rules=Retention(),
        )
        print(f"checkpoint {number}", flush=True)
        file = layout.waiting(Priority.NORMAL) / f"{number}.jsonl"
        file.write_text(f'{{"number": {number}}}\n' * 1000)
        sync_file(file)
        sync_directory(file.parent)
        print(f"waiting {number}", flush=True)
        file = move_durably(file, layout.processing)
        print(f"processing {number}", flush=True)
        move_durably(file, layout.finished(Outcome.COMPLETED))
        print(f"completed {number}", flush=True)


# ---- the cuts


@dataclass
class Announced:
    """The highest number that was announced, by what was announced."""

    checkpoint: int = 0
    waiting: int = 0
    processing: int = 0
    completed: int = 0


class Machine:
    """An image, mounted, with a process that writes to it."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk"
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(self.image)], check=True)
        self.mount = folder / "mounted"
        self.mount.mkdir()
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.mount)], check=True)
        command = [sys.executable, "-m", "tests.crash.powercut", "--write", str(self.mount / "work")]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.announced = Announced()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            what, number = line.split()
            setattr(self.announced, what, int(number))

    def cut(self, copy: Path) -> Announced:
        """Copy what is on the disk at this instant; return what had been announced before."""
        os.kill(self.process.pid, signal.SIGSTOP)
        before = Announced(**vars(self.announced))
        shutil.copyfile(self.image, copy)
        os.kill(self.process.pid, signal.SIGCONT)
        return before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        subprocess.run(["umount", str(self.mount)], check=True)


@contextmanager
def mounted(image: Path, mount: Path) -> Iterator[Path]:
    """Mount a copy, which makes the file system recover from its journal."""
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield mount / "work"
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def examine(base: Path, before: Announced) -> list[str]:
    """Return what is missing or half after a cut."""
    layout, problems = Layout(base), []
    newest = CheckpointStore(layout.models).newest_verified() if layout.models.is_dir() else None
    step = newest.manifest.progress.global_step if newest else 0
    if step < before.checkpoint:
        problems.append(f"checkpoint {before.checkpoint} was announced, but the newest is {step}")
    if not before.waiting:
        return problems
    ledger = Ledger(layout.ledger_file, clock=time.time)
    JobQueue(layout, ledger, Journal([])).recover()
    ledger.close()
    for number in range(1, before.waiting + 1):
        places = [path for path in layout.queue.rglob(f"{number}.jsonl")]
        if len(places) != 1:
            problems.append(f"file {number} lies in {[path.parent.name for path in places]}")
        elif places[0].read_text() != f'{{"number": {number}}}\n' * 1000:
            problems.append(f"file {number} has another content")
        elif number <= before.completed and places[0].parent.name != "recently_completed":
            problems.append(f"file {number} was completed, but lies in {places[0].parent.name}")
    return problems


def main() -> int:
    """Return 0 if everything announced survived every cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.write:
        write_for_ever(wanted.write)
    if os.geteuid() != 0:
        parser.error("needs root, because it mounts an image")
    chance = random.Random(wanted.seed)
    print(f"seed {wanted.seed}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        folder = Path(name)
        machine = Machine(folder)
        try:
            for cut in range(1, wanted.cuts + 1):
                time.sleep(chance.uniform(0, LONGEST_CALM_S))
                before = machine.cut(folder / "copy")
                with mounted(folder / "copy", folder / "examined") as base:
                    problems = examine(base, before)
                failed += bool(problems)
                for problem in problems:
                    print(f"cut {cut}: {problem}")
        finally:
            machine.close()
    print(f"{wanted.cuts} cuts, {machine.announced.checkpoint} checkpoints, {failed} cuts with losses")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
