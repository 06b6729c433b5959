"""One complete health check: collect the facts, and have each part judged by the module that knows it."""

import os
from collections.abc import Callable, Sequence
from functools import partial

import psutil

from daemon.checkpoints.review import Reviewed, corrupt_names, newest_whole, review_sizes
from daemon.control.control_files import read_requests
from daemon.health.check_result import CheckResult, ok, problem
from daemon.health.leftovers import check_leftovers, find_leftovers
from daemon.health.machine import (
    check_clock,
    check_disk,
    check_folders,
    check_gpu,
    check_memory,
    free_bytes,
)
from daemon.health.notifications import check_notifications
from daemon.health.processes import (
    check_control,
    check_daemon,
    check_worker,
    find_workers,
    is_held,
)
from daemon.health.queue_files import check_failed, check_inbox, check_ledger, check_processing
from daemon.health.tracking import check_tracking
from daemon.health.trained import check_checkpoints, check_locked
from daemon.jobs.wishes import FORGETTING, unfinished
from daemon.status.machine import GpuReader
from daemon.status.reader import Status
from trainer.config.loader import BadConfig, load_settings
from trainer.config.schema import Settings
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.child_process import is_running
from trainer.protocol.files import UnreadableFile
from trainer.protocol.layout import SCRATCH, Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.permissions import read_permissions
from trainer.protocol.text import num_of, printable, shell_word

UnusableNames = Callable[[Settings], Sequence[str]]


def examine(
    layout: Layout,
    status: Status,
    *,
    now: float,
    overrides: Sequence[str] = (),
    unusable_names: UnusableNames = lambda settings: (),
) -> list[CheckResult]:
    """Return how everything is.

    Args:
        now: Unix seconds.
        overrides: `--set` texts of the daemon that runs.
        unusable_names: returns a sentence for each setting that names what is not there.
    """
    found = Examination(layout, status, now=now, overrides=overrides, unusable_names=unusable_names)
    return found.findings()


class Examination:
    """A working directory as it is at one moment.

    Args:
        now: Unix seconds.
        overrides: `--set` texts of the daemon that runs.
        unusable_names: returns a sentence for each setting that names what is not there.
    """

    def __init__(
        self,
        layout: Layout,
        status: Status,
        *,
        now: float,
        overrides: Sequence[str],
        unusable_names: UnusableNames,
    ) -> None:
        self._layout = layout
        self._status = status
        self._now = now
        self._overrides = overrides
        self._unusable_names = unusable_names
        self._daemon_runs = self._worker_runs = False
        self._settings: Settings | None = None  # what depends on invalid ones is not judged
        self._reviewed: list[Reviewed] = []
        self._newest: Manifest | None = None

    def findings(self) -> list[CheckResult]:
        """Check one part after the other; that one cannot be checked is a finding, too."""
        parts: list[tuple[str, Callable[[], Sequence[CheckResult]]]] = [
            ("daemon", self._daemon),
            ("worker", self._worker),
            ("control", self._control),
            ("forgetting", self._forgetting),
            ("folders", partial(check_folders, self._layout, uid=os.geteuid())),
            ("config", self._config),
            ("checkpoints", self._checkpoints),
            ("locked settings", self._locked),
            ("disk", self._disk),
            ("memory", self._memory),
            ("gpu", self._gpu),
            ("processing", self._processing),
            ("failed", lambda: [check_failed(self._layout.failed)]),
            ("inbox", self._inbox),
            ("ledger and clock", self._ledger_and_clock),
            ("notifications", lambda: list(check_notifications(self._layout))),
            ("tracking", self._tracking),
            ("leftovers", self._leftovers),
        ]
        return [finding for name, look in parts for finding in _guarded(name, look)]

    def _tracking(self) -> list[CheckResult]:
        return list(check_tracking(self._layout, (self._settings or Settings()).tracking))

    def _daemon(self) -> list[CheckResult]:
        self._daemon_runs = is_held(self._layout.lock_file)
        return [check_daemon(self._status, lock_is_held=self._daemon_runs)]

    def _worker(self) -> list[CheckResult]:
        lock_is_held = is_held(self._layout.worker_lock_file)
        workers = find_workers(self._layout.base)
        self._worker_runs = lock_is_held or bool(workers)
        return [
            check_worker(
                self._status,
                daemon_runs=self._daemon_runs,
                lock_is_held=lock_is_held,
                worker_pids=workers,
                is_alive=is_running(self._status.fields.get("worker_pid")),
                is_paused=self._layout.pause_file.exists(),
            )
        ]

    def _control(self) -> list[CheckResult]:
        requests = read_requests(self._layout)
        return check_control(requests, self._layout.base, daemon_runs=self._daemon_runs, now=self._now)

    def _forgetting(self) -> list[CheckResult]:
        at_work = str(self._status.fields.get("status_reason") or "").startswith(FORGETTING)
        found = None if self._daemon_runs and at_work else unfinished(self._layout.models)
        if found is None:
            return []
        place = shell_word(str(self._layout.models / SCRATCH))
        advice = f"{found.command}; if the model may keep the file after all: rm -r {place}"
        return [problem("forgetting", found.text, advice)]

    def _config(self) -> list[CheckResult]:
        try:
            load_settings(self._layout.config_file)  # what --set may hide
            effective = load_settings(self._layout.config_file, overrides=self._overrides)
        except BadConfig as error:
            lines = [printable(line) for line in str(error).splitlines()]
            return [
                problem("config", line, "correct it; docs/CONFIGURATION.md explains it") for line in lines
            ]
        self._settings = effective.settings
        if unusable := self._unusable_names(effective.settings):
            advice = "training_daemon --check-config shows every setting"
            return [problem("config", text, advice) for text in unusable]
        return [ok("config", f"valid; set explicitly: {num_of(len(effective.origins), 'setting')}")]

    def _checkpoints(self) -> list[CheckResult]:
        self._reviewed = review_sizes(self._layout.models)
        newest = newest_whole(self._reviewed)
        self._newest = newest.manifest if newest else None
        folder = self._layout.models / FOLDER
        return check_checkpoints(self._reviewed, corrupt_names(self._layout.models), folder)

    def _locked(self) -> list[CheckResult]:
        if self._newest is None or self._settings is None:
            return []
        try:
            permissions = read_permissions(self._layout.models)
        except UnreadableFile as error:
            message, _, advice = printable(str(error)).rpartition("; ")
            return [problem("locked settings", message, advice)]
        given = "config.json and --set have" if self._overrides else "config.json has"
        return check_locked(self._newest, self._settings, permissions, given=given)

    def _disk(self) -> list[CheckResult]:
        folders = {
            folder.name: free_bytes(folder)
            for folder in (self._layout.models, self._layout.queue, self._layout.status)
            if folder.is_dir()
        }
        return check_disk(
            folders,
            min_free_bytes=(self._settings or Settings()).daemon.min_free_bytes,
            checkpoint_bytes=self._checkpoint_bytes(),
        )

    def _memory(self) -> list[CheckResult]:
        available = psutil.virtual_memory().available
        return [
            check_memory(available, checkpoint_bytes=self._checkpoint_bytes(), worker_runs=self._worker_runs)
        ]

    def _gpu(self) -> list[CheckResult]:
        trained_on = self._newest.device if self._newest else None
        wanted = (self._settings or Settings()).training.device
        return [check_gpu(GpuReader().read(), wanted=wanted, trained_on=trained_on)]

    def _processing(self) -> list[CheckResult]:
        files = self._layout.processing, self._layout.ledger_file
        return check_processing(*files, daemon_runs=self._daemon_runs)

    def _inbox(self) -> list[CheckResult]:
        return check_inbox(self._layout.inbox, daemon_runs=self._daemon_runs, now=self._now)

    def _ledger_and_clock(self) -> list[CheckResult]:
        finding, newest_event_at = check_ledger(self._layout.ledger_file)
        moments = {"the newest event in the ledger": newest_event_at} if newest_event_at else {}
        if self._newest:
            moments["the newest checkpoint"] = self._newest.written_at
        return [finding, check_clock(moments, now=self._now)]

    def _leftovers(self) -> list[CheckResult]:
        runs = {"daemon_runs": self._daemon_runs, "worker_runs": self._worker_runs}
        found = find_leftovers(self._layout, **runs)
        return [check_leftovers(found, self._layout.base, somebody_runs=any(runs.values()))]

    def _checkpoint_bytes(self) -> int:
        return self._newest.total_bytes if self._newest else 0


def _guarded(name: str, look: Callable[[], Sequence[CheckResult]]) -> Sequence[CheckResult]:
    try:
        return look()
    except FileNotFoundError:
        return []  # a folder is missing, which is a finding of its own
    except OSError as error:
        message = f"it cannot be checked: {printable(str(error))}"
        return [problem(name, message, "make it readable by the user who runs the daemon")]
