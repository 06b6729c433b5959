"""Where everything lies below one working directory. Knows paths, never contents."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from trainer.protocol.places import Outcome, Priority

BASE_DIR_VARIABLE = "TRAINING_BASE_DIR"
COSTS_FILE = "monitoring_costs.json"  # beside the status file
PRIVATE_MODE = 0o700  # weights and training data are nobody else's business
PRIVATE_UMASK = 0o077
SCRATCH = ".forget"  # in models/, while a file is being forgotten; see `trainer.protocol.forgetting`
ORDER_FILE = "order.jsonl"  # in there: what is to be done
BRANCHES = "branches"  # in models/: what was trained before its branch was published
READY = b"ready"  # what a daemon in the background tells whoever started it


@dataclass(frozen=True)
class Layout:
    """The paths of one working directory.

    Args:
        base: the working directory itself; absolute.
    """

    base: Path

    @property
    def config_file(self) -> Path:
        return self.base / "config.json"

    @property
    def emergency_stop(self) -> Path:
        return self.base / ".stop"

    @property
    def inbox(self) -> Path:
        return self.base / "inbox"

    @property
    def queue(self) -> Path:
        return self.base / "queue"

    def waiting(self, priority: Priority) -> Path:
        """Return the folder of files that wait with `priority`."""
        return self.queue / priority.value

    @property
    def processing(self) -> Path:
        return self.queue / "processing"

    @property
    def replayed(self) -> Path:
        """Second names of completed files that open jobs replay rows from; created when there is one."""
        return self.queue / ".replayed"

    @property
    def admitted(self) -> Path:
        """Names the contents that are to be trained whatever the report on them says; created on demand."""
        return self.queue / ".admitted"

    @property
    def trash(self) -> Path:
        """Failed and skipped files that somebody has cleared away; created on demand, read by no daemon."""
        return self.queue / ".trash"

    @property
    def failed(self) -> Path:
        return self.queue / "failed"

    def finished(self, outcome: Outcome) -> Path:
        """Return the folder that `outcome` moves a file to."""
        return self.queue / ("recently_completed" if outcome is Outcome.COMPLETED else outcome.value)

    @property
    def control(self) -> Path:
        return self.base / "control"

    @property
    def status(self) -> Path:
        return self.base / "status"

    @property
    def status_file(self) -> Path:
        return self.status / "training_status.json"

    @property
    def data_reports(self) -> Path:
        """What was found in files before they were trained; created when there is something."""
        return self.status / "data_reports"

    @property
    def ledger_file(self) -> Path:
        return self.status / "ledger.sqlite3"

    @property
    def pause_file(self) -> Path:
        """The daemon's own memory of a pause, so that it holds across restarts."""
        return self.status / "paused.json"

    def notify_file(self, channel: str) -> Path:
        """Return where the process that tells a channel of events notes how far it has come."""
        return self.status / f"notify_{channel}.json"

    def tracking_file(self, kind: str, destination: str) -> Path:
        """Return where the process of a tracker notes how far it has come; another one for each place."""
        mark = hashlib.sha256(destination.encode()).hexdigest()[:8]
        return self.status / "tracking" / f"{kind}-{mark}.json"

    @property
    def monitor_lock_file(self) -> Path:
        """Its holder is the one monitor of this directory."""
        return self.status / "monitor.lock"

    @property
    def monitor_file(self) -> Path:
        """Says which process holds `monitor_lock_file`, and on which address it serves."""
        return self.status / "monitor.json"

    @property
    def lock_file(self) -> Path:
        return self.status / "daemon.lock"

    @property
    def moves_lock_file(self) -> Path:
        """Its holder alone may move files between the folders of the queue."""
        return self.queue / ".moves.lock"

    @property
    def process_file(self) -> Path:
        """Says which process holds `lock_file`."""
        return self.status / "daemon.json"

    @property
    def models(self) -> Path:
        return self.base / "models"

    @property
    def kept_files(self) -> Path:
        """Second names of accepted files, by their SHA-256, so that they can be trained again; on demand."""
        return self.models / "data"

    @property
    def worker_lock_file(self) -> Path:
        """Its holder is the one process that may write to `models`."""
        return self.models / ".worker.lock"

    @property
    def logs(self) -> Path:
        return self.base / "logs"

    def folders(self) -> list[Path]:
        """Return every folder, parents first."""
        inboxes = [self.inbox, *(self.inbox / priority.value for priority in Priority)]
        queues = [self.queue, *(self.waiting(priority) for priority in Priority), self.processing]
        outcomes = [self.finished(outcome) for outcome in Outcome]
        return [*inboxes, *queues, *outcomes, self.control, self.status, self.models, self.logs]

    def create(self) -> None:
        """Create what is missing, and close every folder to other users.

        Raises:
            OSError: the working directory cannot be written.
        """
        self.base.mkdir(parents=True, exist_ok=True)
        for folder in self.folders():
            folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
            # One that somebody linked here is theirs to open or close
            if not folder.is_symlink() and folder.stat().st_mode & 0o077:
                folder.chmod(PRIVATE_MODE)


def find_base_dir(option: Path | None) -> Path:
    """Return the working directory: `--base-dir`, else TRAINING_BASE_DIR, else the current folder."""
    return Path(option or os.environ.get(BASE_DIR_VARIABLE) or ".").absolute()
