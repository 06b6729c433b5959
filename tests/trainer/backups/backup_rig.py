"""A working directory with a little of everything, a destination for its backups, and processes that die."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.files.identity import Identity
from daemon.ledger.ledger import Ledger
from tests.health import publish
from tests.support import FakeClock, rows, write_jsonl
from trainer.backups import catalog
from trainer.backups.creation import Making, create
from trainer.backups.destination import Destination, open_destination, origin_of
from trainer.backups.manifest import BackupManifest
from trainer.backups.restoring import Target, restore
from trainer.backups.verification import verify_backups
from trainer.protocol import failpoints
from trainer.protocol.backups import BackupMade, CreateTask, LogitsFingerprint, RestoredBackup, VerifyTask
from trainer.protocol.files import file_sha256
from trainer.protocol.job import Job, Priority
from trainer.protocol.layout import Layout
from trainer.versions.registry import Versions

NOW = 1_800_000_000.0
DAY_S = 86_400.0
LOGITS = LogitsFingerprint(sha256="f" * 64, sample=(1.0, 2.0), libraries={"torch": "2"})


@dataclass
class Site:
    """A working directory, and where its backups go."""

    layout: Layout
    to: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    logits_asked: int = 0

    @property
    def destination(self) -> Destination:
        return open_destination(str(self.to), base_dir=self.layout.base)

    @property
    def origin(self) -> str:
        return origin_of(self.layout.base)

    @property
    def versions(self) -> Versions:
        return Versions(self.layout.models, clock=self.clock)

    def back_up(self, destination: Destination | None = None, **task: Any) -> BackupMade:
        """Make a backup; time goes on by a second."""
        self.clock.now += 1
        order = CreateTask(**({"why": "asked for", "fingerprint_max_bytes": 10**9} | task))
        making = Making(
            self.layout, destination or self.destination, self._logits, lambda words: None, self.clock
        )
        return create(order, making)

    def _logits(self, checkpoint: object) -> LogitsFingerprint:
        self.logits_asked += 1
        return LOGITS

    def manifests(self) -> list[BackupManifest]:
        return catalog.read_all(self.destination).backups

    def restore(self, into: Path, backup: str = "latest", *, force: bool = False) -> RestoredBackup:
        manifest = catalog.find(self.destination, backup)
        target = Target(into, force)
        return restore(manifest, self.destination, target, stamp="1", tell=lambda words: None)

    def assert_whole(self) -> None:
        """Every backup that is there can be restored."""
        found = verify_backups(VerifyTask(), self.destination, tell=lambda words: None)
        assert found.damaged == {}


def make_site(folder: Path) -> Site:
    """Make a working directory with a checkpoint, a version, marks, a ledger, and files in the queue."""
    site = Site(Layout(folder / "work"), folder / "backups")
    layout = site.layout
    layout.create()
    layout.config_file.write_text('{"training": {"epochs": 2}}')
    checkpoint = publish(layout, 1, step=3)
    version = site.versions.create(checkpoint, made_by="hand", trained=lambda parent: ())
    site.versions.alias("deployed", version)
    publish(layout, 2, step=9)
    write_jsonl(layout.waiting(Priority.HIGH) / "waits.jsonl", rows(3))
    write_jsonl(layout.processing / "started.jsonl", rows(5))
    os.utime(layout.processing / "started.jsonl", ns=(1, 1_234_567_890_123_456_789))
    kept = write_jsonl(layout.models / "kept.tmp", rows(2))
    (layout.models / "data").mkdir()
    kept.rename(layout.models / "data" / file_sha256(kept))
    note_job(layout, "started.jsonl")
    return site


def note_job(layout: Layout, name: str) -> None:
    ledger = Ledger(layout.ledger_file, clock=FakeClock(NOW))
    job = Job(id="1", name=name, priority=Priority.LOW, sha256="1" * 64, rows=5, size_bytes=1)
    ledger.add_job(job, Identity(device=1, inode=1, size=1, mtime_ns=1), "processing")
    ledger.close()


def is_killed_at(name: str, act: Callable[[], object]) -> bool:
    """Do something in a process that dies at a failpoint as by `kill -9`; whether it came there."""
    child = os.fork()
    if child == 0:
        try:
            failpoints.arm(name)
            act()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 3
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return what every file below a folder holds, but for locks and what a ledger keeps beside it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and not path.name.endswith(("-wal", "-shm"))
    }


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a manifest says, and write it as its author would have."""
    from trainer.backups import manifest as module
    from trainer.protocol.manifest import CHECKSUM, checksum

    content = json.loads(file.read_bytes())
    content.pop(CHECKSUM)
    change(content)
    file.write_bytes(module._canonical(content | {CHECKSUM: checksum(content)}))
