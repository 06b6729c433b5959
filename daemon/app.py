"""Put a daemon together and run it: lock, log, folders, ledger, and the signals that end it."""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from daemon.auto_versions import AutoVersions, Milestones
from daemon.automatic_backups import AutomaticBackups
from daemon.chores import Chores
from daemon.commands import Commands
from daemon.consolidating import Consolidating
from daemon.control.control_files import Request, read_requests
from daemon.control.pause_file import PauseFile
from daemon.disk import DiskKeeper
from daemon.files.kept import KeptFiles
from daemon.files.leftovers import is_half_written
from daemon.files.probe import ignore_lease_breaks
from daemon.followers import Followers
from daemon.forgetting import ForgettingOnRequest
from daemon.going_back import GoingBack
from daemon.intake.checker import Checker
from daemon.intake.intake import Intake
from daemon.intake.settling import Settling
from daemon.intake.watcher import Watcher
from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.job_ids import JobIds
from daemon.jobs.job_queue import JobQueue
from daemon.journal.events import FileNotKept
from daemon.journal.journal import Journal, LedgerRows, LogLines, StatusChanges
from daemon.ledger.database import UnusableLedger as UnusableLedger  # for those who start a daemon
from daemon.ledger.ledger import Ledger
from daemon.loop import Daemon
from daemon.model_acts import ModelActs
from daemon.obstacles import Obstacles
from daemon.progress_lines import ProgressLines
from daemon.service_manager import ServiceManager
from daemon.settings.live_settings import LiveSettings
from daemon.status.board import StatusBoard
from daemon.status.last_known import show_model
from daemon.status.reader import read_status
from daemon.supervision.launcher import Launcher
from daemon.supervision.local_launcher import LocalLauncher
from daemon.supervision.supervisor import Supervisor
from daemon.wake import Wake
from trainer.protocol.child_process import EXIT_CODE_OF_SIGNALS, is_running
from trainer.protocol.files import UnreadableFile, read_json, write_json
from trainer.protocol.layout import READY, Layout
from trainer.protocol.logs import set_up_logging
from trainer.protocol.places import Priority
from trainer.protocol.text import shell_word

logger = logging.getLogger(__name__)


class AlreadyRunning(RuntimeError):
    """Another daemon holds this working directory."""


def run_daemon(
    base_dir: Path,
    *,
    overrides: Sequence[str] = (),
    drain: bool = False,
    log_format: str | None = None,
    launcher: Launcher | None = None,
    ready_fd: int | None = None,
) -> int:
    """Run a daemon in this process until it is asked to stop; return the exit code.

    Args:
        overrides: `--set` texts.
        drain: leave when everything is trained; the exit code is then 1 if any file failed, and that of a
            process which a signal has ended if one came before.
        log_format: `text` or `json`, instead of `daemon.log_format`.
        launcher: what starts the worker; None starts it on this machine.
        ready_fd: of a pipe to whoever has started this process in the background: it is told when the daemon
            is ready, and nothing is logged to standard error. None for a daemon in the foreground.
    Raises:
        AlreadyRunning: there is one already.
        BadConfig: the settings are invalid.
        UnusableLedger: another release wrote the ledger, or another process holds it.
        OSError: the working directory cannot be used.
    """
    started_at = time.time()
    signals = _Signals()
    os.umask(0o077)
    if log_format:
        overrides = [*overrides, f"daemon.log_format={log_format}"]
    layout = Layout(base_dir)
    layout.create()
    lock = FileLock(layout.lock_file, blocking=False)
    try:
        with lock:
            if not layout.config_file.exists():
                from daemon.settings.starter import write_starter

                write_starter(layout)
            # Now, not by comparing times: the clock may have jumped since they were written
            found = read_requests(layout)
            settings = LiveSettings(layout.config_file, overrides)
            write_json(layout.process_file, _process_facts(started_at, overrides), durable=False)
            _remove_leftovers(layout)
            launcher = launcher or LocalLauncher()
            form = settings.current.daemon.log_format
            set_up_logging(layout.logs / "daemon.log", form=form, also_stderr=ready_fd is None)
            ignore_lease_breaks()
            code = _run_locked(layout, settings, drain, launcher, found, signals, ready_fd)
            if drain and signals.first is not None:
                is_paused = PauseFile(layout.pause_file).is_set
                then = f"is paused, until: {_resume(layout)}" if is_paused else "continues"
                logger.warning("interrupted by %s; the next start %s", signals.first.name, then)
                return EXIT_CODE_OF_SIGNALS + signals.first
            return code
    except Timeout:
        raise AlreadyRunning(_who_is_here(layout)) from None


def _run_locked(
    layout: Layout,
    settings: LiveSettings,
    drain: bool,
    launcher: Launcher,
    found: Sequence[Request],
    signals: "_Signals",
    ready_fd: int | None,
) -> int:
    own = settings.current.daemon
    ledger = Ledger(layout.ledger_file, clock=time.time)
    _end_interrupted(layout, ledger)
    board = _board(layout, ledger)
    milestones, wake, pause = Milestones(), Wake(), PauseFile(layout.pause_file)
    journal = Journal([LogLines(), StatusChanges(board), LedgerRows(ledger), milestones])
    queue = JobQueue(layout, ledger, journal)
    watcher = Watcher(_watched(layout), journal, wake.set)
    checker = Checker(layout.failed, on_result=wake.set)
    kept = _kept_files(layout, settings, journal)
    settling = Settling(settle_s=own.settle_s, settle_slow_s=own.settle_slow_s)
    intake = Intake(
        layout, queue, journal, board, watcher, checker, settling, JobIds(ledger.newest_job_id()), kept,
        data=lambda: settings.current.data, rescan_s=own.rescan_s,
    )  # fmt: skip
    supervisor = Supervisor(layout, queue, ledger, journal, board, launcher)
    going_back = _going_back(layout, queue, ledger, journal, wake)
    acts = _model_acts(layout, settings, ledger, journal, board, supervisor, going_back, wake)
    commands = Commands(layout, queue, ledger, journal, intake, supervisor, pause, acts, going_back)
    service = ServiceManager(os.environ, journal, clock=time.monotonic)
    chores = _chores(layout, settings, queue, journal, board, supervisor, milestones, wake)
    daemon = Daemon(
        layout, settings, queue, ledger, journal, board, intake, supervisor, commands,
        wake, Obstacles(layout, clock=time.monotonic), chores, service, drain=drain,
    )  # fmt: skip
    signals.pass_on(daemon.stop_soon)
    watcher.start()
    try:
        daemon.start(found=found)
        paused = f", paused until: {_resume(layout)}" if pause.is_set else ""
        logger.info("daemon %d is ready in %s%s", os.getpid(), layout.base, paused)
        service.ready()
        if ready_fd is not None:
            _say_ready(ready_fd)
        return daemon.run()
    finally:
        watcher.stop()
        checker.close()
        kept.close()
        supervisor.kill()
        ledger.close()
        chores.followers.close()


def _end_interrupted(layout: Layout, ledger: Ledger) -> None:
    """End the attempts of a daemon that was killed, at its last heartbeat; the first status overwrites it."""
    last_seen_at = read_status(layout).fields.get("heartbeat_at")
    if isinstance(last_seen_at, str):
        ledger.interrupt_attempts(last_seen_at)


def _board(layout: Layout, ledger: Ledger) -> StatusBoard:
    """Return the status, with what the newest checkpoint says, published."""
    board = StatusBoard(layout.status_file, daemon_pid=os.getpid())
    show_model(board, layout, ledger.measured_at)
    board.publish()
    return board


def _kept_files(layout: Layout, settings: LiveSettings, journal: Journal) -> KeptFiles:
    return KeptFiles(
        layout.kept_files,
        budget_bytes=lambda: settings.current.forget.kept_files_bytes,
        on_problem=lambda name, error: journal.record(FileNotKept(file=name, problem=str(error))),
    )


def _chores(
    layout: Layout,
    settings: LiveSettings,
    queue: JobQueue,
    journal: Journal,
    board: StatusBoard,
    supervisor: Supervisor,
    milestones: Milestones,
    wake: Wake,
) -> Chores:
    return Chores(
        disk=DiskKeeper(
            layout, journal, board,
            tell_worker=supervisor.use, on_result=wake.set, clock=time.monotonic, wall_clock=time.time,
        ),
        progress=ProgressLines(lambda: board.status, queue, settings, clock=time.monotonic),
        followers=Followers(layout, journal, clock=time.monotonic),
        versions=AutoVersions(layout, journal, milestones, on_result=wake.set),
        backups=AutomaticBackups(layout, journal, board, on_result=wake.set),
    )  # fmt: skip


def _going_back(layout: Layout, queue: JobQueue, ledger: Ledger, journal: Journal, wake: Wake) -> GoingBack:
    follow = FollowBranches(layout.models, queue, ledger, journal)
    return GoingBack(layout, follow, journal, before=ledger.commit, on_result=wake.set)


def _model_acts(
    layout: Layout,
    settings: LiveSettings,
    ledger: Ledger,
    journal: Journal,
    board: StatusBoard,
    supervisor: Supervisor,
    going_back: GoingBack,
    wake: Wake,
) -> ModelActs:
    def in_force() -> dict[str, Any]:
        return settings.current.model_dump(mode="json")

    def follow() -> None:
        going_back.catch_up()
        show_model(board, layout, ledger.measured_at)

    forgetting = ForgettingOnRequest(
        layout,
        settings=in_force,
        backup_to=lambda: settings.current.backup.to,
        before=ledger.commit,
        after=follow,
        on_result=wake.set,
    )
    consolidating = Consolidating(
        layout, journal, settings=in_force, step=lambda: supervisor.global_step, on_result=wake.set
    )
    return ModelActs([going_back, forgetting, consolidating])


def _process_facts(started_at: float, overrides: Sequence[str]) -> dict[str, object]:
    """Return what `training_daemon restart` must know of this process."""
    return {
        "pid": os.getpid(),
        "started_at": started_at,
        "overrides": list(overrides),
        "is_service": "NOTIFY_SOCKET" in os.environ,
    }


def _say_ready(descriptor: int) -> None:
    with suppress(BrokenPipeError):  # whoever started this process has not waited
        os.write(descriptor, READY)
    os.close(descriptor)


def _watched(layout: Layout) -> dict[Path, bool]:
    """Folder -> whether its subfolders are watched too."""
    waiting = [layout.waiting(priority) for priority in Priority]
    return {layout.inbox: True, **dict.fromkeys([layout.control, layout.base, *waiting], False)}


def _resume(layout: Layout) -> str:
    """Return what ends a pause, whoever reads the log and wherever they are."""
    return f"training_controller resume --base-dir {shell_word(str(layout.base))}"


class _Signals:
    """Takes note of the signals that end a daemon from the start, and passes them on once there is one."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        """The one that came first."""
        self._come = 0
        self._stop: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may close; a daemon goes on

    def pass_on(self, stop: Callable[[], None]) -> None:
        """Call `stop` for each signal, also for those that have come already."""
        self._stop = stop
        for _ in range(self._come):
            stop()

    def _take(self, number: int, _: object) -> None:
        self.first = self.first or signal.Signals(number)
        if self._stop:
            self._stop()
        else:
            self._come += 1


def _remove_leftovers(layout: Layout) -> None:
    """Remove what a daemon that died was about to rename. No other one runs: we hold the lock."""
    for folder in (layout.base, layout.status):
        for path in folder.iterdir():
            if is_half_written(path.name):
                path.unlink(missing_ok=True)


def _who_is_here(layout: Layout) -> str:
    """Return who holds the lock, and what to do: a daemon, or a command that needs none."""
    try:
        pid = read_json(layout.process_file)["pid"]
    except (OSError, UnreadableFile, KeyError, TypeError):
        pid = None
    folder = shell_word(str(layout.base))
    if not is_running(pid):
        return (
            f"a daemon is already running in {folder}, just started, or a command has the model go back, "
            "forget a file or merge its adapter there without a daemon; when it is over, start again"
        )
    is_alive = read_status(layout).is_running
    way_out = "stop it with: training_controller stop" if is_alive else "see how it is: training_health check"
    return f"a daemon is already running here (pid {pid}); {way_out} --base-dir {folder}"
