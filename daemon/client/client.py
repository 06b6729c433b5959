"""The client: one working directory, and everything you can ask of it. A table of contents."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.client.errors import (
    FollowerUnusable,
    NoDaemon,
    NotAWorkingDirectory,
    RunsAlready,
    UnreadableHistory,
    raising,
)
from trainer.protocol.layout import Layout, find_base_dir
from trainer.protocol.text import shell_word

if TYPE_CHECKING:
    from daemon.client.average import AverageKept
    from daemon.client.backups import Backups
    from daemon.client.checkpoints import Checkpoints
    from daemon.client.compare import Comparisons
    from daemon.client.consolidate import Consolidations
    from daemon.client.creation import Created
    from daemon.client.data import Data
    from daemon.client.disk import Disk
    from daemon.client.flags import Flags
    from daemon.client.forget import Forgets
    from daemon.client.health import Health
    from daemon.client.history import History
    from daemon.client.live_curves import LiveCurves
    from daemon.client.logs import Logs
    from daemon.client.models import Models
    from daemon.client.models_report import ModelsReport, Since
    from daemon.client.queue import AddedFile, Queue
    from daemon.client.queue_pages import QueuePages
    from daemon.client.requests import Obeyed, Requests
    from daemon.client.rollback import Rollbacks
    from daemon.client.settings import ClientSettings
    from daemon.client.starting import Started
    from daemon.client.uploads import Uploads
    from daemon.client.waiting import EndedFile
    from daemon.ledger.event_stream import RecordedEvent
    from daemon.status.reader import Status

DEFAULT_WAIT_S = 30.0
# What a status says of the last step, by a model that may be another one by now
OF_LAST_STEP = (
    *("current_file", "current_job", "priority", "total_steps", "file_step", "file_total_steps", "epoch"),
    *("loss", "learning_rate", "grad_norm", "val_train_gap", "evaluation_left_out", "think_tag_percent"),
    *("tokens_per_sec", "samples_per_sec", "eta_s"),
)
START_WAIT_S = 120.0  # a step may have to end and be saved, and 100,000 waiting files be read


class Client:
    """Asks things of one working directory. Needs no daemon, except for what only a daemon can do.

    Args:
        base_dir: the working directory; None takes TRAINING_BASE_DIR, else the current folder.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        base_dir: Path | str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.any_layout = Layout(find_base_dir(Path(base_dir).expanduser() if base_dir else None))
        """The folder it is about, whether or not a daemon has ever run there."""
        self._clock = clock
        self._sleep = sleep

    @property
    def is_working_directory(self) -> bool:
        """Whether a daemon has run there, or `create` has."""
        return self.any_layout.queue.is_dir()

    @property
    def layout(self) -> Layout:
        """The working directory.

        Raises:
            NotAWorkingDirectory: nothing looks like one there.
        """
        if not self.is_working_directory:
            from daemon.client.advice import no_working_directory

            raise NotAWorkingDirectory(no_working_directory(self.any_layout))
        return self.any_layout

    # ---- parts, each loaded when it is first used

    @cached_property
    def queue(self) -> "Queue":
        """The files: list, add, move."""
        from daemon.client.queue import Queue

        return Queue(self.layout, self.settings)

    @cached_property
    def queue_pages(self) -> "QueuePages":
        """The folders of the queue page by page, however many files there are."""
        from daemon.client.queue_pages import QueuePages

        return QueuePages(self.layout)

    @cached_property
    def uploads(self) -> "Uploads":
        """Files that come in parts into the inbox, such as from a browser."""
        from daemon.client.uploads import Uploads

        return Uploads(self.layout, self.settings)

    @cached_property
    def history(self) -> "History":
        """What the ledger knows: events, jobs, steps, evaluations, crashes."""
        from daemon.client.history import History

        return History(self.layout)

    @cached_property
    def curves(self) -> "LiveCurves":
        """Curves that are drawn again and again, and what they are marked with."""
        from daemon.client.live_curves import LiveCurves

        return LiveCurves(self.layout, self.history, lambda: self.models)

    @cached_property
    def logs(self) -> "Logs":
        """The daemon's log: its newest entries, and what is added to it."""
        from daemon.client.logs import Logs

        return Logs(self.layout, self.history)

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """The checkpoints: verify, pin, and what a restart would do."""
        from daemon.client.checkpoints import Checkpoints

        return Checkpoints(self.layout)

    @cached_property
    def models(self) -> "Models":
        """The versions of the model, and what made them."""
        from daemon.client.models import Models

        return Models(self.layout, lambda versions: self.backups().before("delete", versions=versions))

    @cached_property
    def comparisons(self) -> "Comparisons":
        """How two versions differ, measured on the same rows and prompts."""
        from daemon.client.compare import Comparisons

        return Comparisons(self.layout, self.models, self.settings)

    @cached_property
    def consolidations(self) -> "Consolidations":
        """The adapter, merged into its base model."""
        from daemon.client.consolidate import Consolidations

        return Consolidations(self.layout, self.settings, self._requests, self.backups)

    @cached_property
    def rollbacks(self) -> "Rollbacks":
        """The way back to an earlier state of the model."""
        from daemon.client.rollback import Rollbacks

        return Rollbacks(self.layout, self._requests)

    def backups(
        self, to: str | None = None, *, on_progress: Callable[[str], object] = lambda words: None
    ) -> "Backups":
        """Return the backups at a destination, which other working directories may share.

        Args:
            to: a folder or an address; None takes `backup.to`.
            on_progress: called with each line that says how far it is.
        """
        from daemon.client.backups import Backups

        return Backups(
            self.any_layout,
            lambda: self.layout,
            self.settings,
            lambda: self.models,
            to=to,
            on_progress=on_progress,
        )

    @cached_property
    def forgetting(self) -> "Forgets":
        """The model as if a file had never been there."""
        from daemon.client.forget import Forgets

        return Forgets(self.layout, self._requests, self.backups)

    @cached_property
    def health(self) -> "Health":
        """Is all well? The folder may lack any of its parts, but not all."""
        from daemon.client.health import Health

        is_there = any(folder.exists() for folder in self.any_layout.folders())
        return Health(self.any_layout if is_there else self.layout)

    @cached_property
    def settings(self) -> "ClientSettings":
        """The settings in force, and which locked one may change. Needs no working directory."""
        from daemon.client.settings import ClientSettings

        return ClientSettings(self.any_layout)

    @cached_property
    def data(self) -> "Data":
        """Files as training data: inspect, show, dry run, reports. Needs no working directory."""
        from daemon.client.data import Data

        return Data(self.any_layout, self.settings)

    @cached_property
    def disk(self) -> "Disk":
        """Disk space: what takes it, and freeing some."""
        from daemon.client.disk import Disk

        return Disk(self.layout, self.settings, self.backups)

    @cached_property
    def flags(self) -> "Flags":
        """Rows that somebody should inspect."""
        from daemon.client.flags import Flags

        return Flags(self.layout, self.settings)

    # ---- the daemon

    def status(self) -> "Status":
        """Return what the status file says, and whether somebody is behind it.

        Where no daemon keeps them up to date, the files in the queue are counted, and those in the inbox.
        """
        from daemon.status.reader import read_status

        status = read_status(self.layout)
        if status.is_gone:
            return self._without_a_daemon(status)
        return self._counted(status) if status.life == "unreadable" else status

    def _of_the_newest_checkpoint(self, status: "Status") -> "Status":
        """Return the status with the model as it is now; a command may have had it go back since."""
        from daemon.status.last_known import last_known

        if status.life == "never started":  # it has no fields at all
            return status
        known = last_known(self.layout.models)
        if not known:
            return status
        checkpoint = known["last_checkpoint"].model_dump(mode="json")
        if checkpoint == status.fields.get("last_checkpoint"):
            return status
        of_other_weights = dict.fromkeys(OF_LAST_STEP) | {"suite_scores": {}}
        fields = status.fields | of_other_weights | known | {"last_checkpoint": checkpoint}
        return replace(status, fields=fields)

    def _counted(self, status: "Status") -> "Status":
        """Return the status with the files counted that lie in the queue's folders now."""
        from daemon.files.folder import count_files
        from trainer.protocol.status import QueueCounts

        queue = {name: count_files(self.layout.queue / name) for name in QueueCounts.model_fields}
        return replace(status, fields=status.fields | {"queue": queue})

    def _without_a_daemon(self, status: "Status") -> "Status":
        from daemon.control.next_start import pause_at_start
        from daemon.intake.inbox import count_dropped

        pause = pause_at_start(self.layout)
        return replace(
            self._counted(self._of_the_newest_checkpoint(status)),
            starts_paused=pause is not None,
            pause_reason=pause.reason if pause else None,
            in_inbox=count_dropped(self.layout.inbox),
        )

    def create(self, *, sample: bool = False) -> "Created":
        """Make the folder a working directory. One that is there stays as it is.

        Args:
            sample: put a file of puzzles into the inbox, and settings in a new `config.json` that suit it.
        Raises:
            CannotCreate: no working directory can be made of it.
        """
        from daemon.client.creation import create

        return create(self.any_layout, sample=sample)

    def refuse_inside_another(self) -> None:
        """Let no daemon begin where another working directory keeps its data.

        Raises:
            CannotCreate: it would.
        """
        from daemon.client.creation import refuse_inside_another

        refuse_inside_another(self.any_layout)

    def start(self, overrides: Sequence[str] = (), *, wait_s: float = START_WAIT_S) -> "Started":
        """Start a daemon in the background, in a folder that becomes a working directory if it is none.

        Args:
            overrides: `SECTION.KEY=VALUE` texts.
            wait_s: until it is ready.
        Raises:
            CannotCreate: the folder lies among the data of another working directory.
            RunsAlready: one runs.
            StartFailed: it has ended; the message says why.
            NotReady: it still starts.
        """
        from daemon.client.starting import start

        self.refuse_inside_another()
        return start(self.any_layout, overrides=overrides, wait_s=wait_s)

    def restart(self, overrides: Sequence[str] | None = None, *, wait_s: float = START_WAIT_S) -> "Started":
        """Stop the daemon at the next step, if one runs, and start another in the background.

        Args:
            overrides: None takes those of the daemon that runs, or ran last.
            wait_s: until the one has left, and again until the other is ready.
        Raises:
            RunsAsService: a service manager has to do that.
            InvalidSettings: no daemon could start with them; the one that runs goes on.
            NotObeyed, RunsAlready: it has not stopped in time, or is silent.
            StartFailed, NotReady: as for `start`.
        """
        from daemon.client.starting import overrides_of_last, start, wait_for_lock

        wanted = overrides_of_last(self.layout) if overrides is None else overrides
        self.settings.effective(wanted)
        status = self.status()
        if status.is_running:
            self.stop("restart", now=True, until_gone=True, wait_s=wait_s)
        elif status.life == "silent":  # nor would it obey a stop
            from daemon.client.advice import to_get_a_daemon

            raise RunsAlready(f"the daemon is {status.life_text()}; {to_get_a_daemon(status)}")
        wait_for_lock(self.layout, wait_s)
        return start(self.layout, overrides=wanted, wait_s=wait_s)

    def overrides(self) -> list[str]:
        """Return the `SECTION.KEY=VALUE` texts of the daemon that runs, or ran last."""
        from daemon.client.starting import given_overrides

        return given_overrides(self.layout)

    def pause(self, reason: str | None = None, *, wait_s: float = DEFAULT_WAIT_S) -> "Obeyed":
        """Hold training at the next optimizer step; only `resume` ends that, not a restart.

        Args:
            wait_s: for the answer, as for the other requests.
        Raises:
            NoDaemon: none runs, as for the other requests.
            NotObeyed: it did not answer in time.
        """
        return self._ask_for_pause(".pause", reason, wait_s, is_paused=True)

    def resume(self, reason: str | None = None, *, wait_s: float = DEFAULT_WAIT_S) -> "Obeyed":
        """Continue training with the next step."""
        return self._ask_for_pause(".resume", reason, wait_s, is_paused=False)

    def _ask_for_pause(
        self, file_name: str, reason: str | None, wait_s: float, *, is_paused: bool
    ) -> "Obeyed":
        """Ask for what the next daemon obeys, too, and say how it is told if none runs.

        Args:
            is_paused: whether that one is to start paused.
        """
        try:
            return self._requests.send(file_name, {"reason": reason}, wait_s=wait_s)
        except NoDaemon as error:
            if self.checkpoints.is_paused is is_paused:
                raise
            how = "paused" if is_paused else "without the pause"
            path = shell_word(str(self.layout.control / file_name))
            raise NoDaemon(f"{error}; to have it start {how}: touch {path}") from None

    def skip(self, reason: str | None = None, *, wait_s: float = DEFAULT_WAIT_S) -> "Obeyed":
        """Move the current file to `queue/skipped/` and continue with the next."""
        return self._requests.send(".skip", {"reason": reason}, wait_s=wait_s)

    def stop(
        self,
        reason: str | None = None,
        *,
        now: bool = False,
        until_gone: bool = False,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> "Obeyed":
        """Stop the daemon.

        Args:
            now: at the next step, instead of after the current file.
            until_gone: wait until it has left, not only until it has understood.
        """
        request = {"reason": reason, "now": now}
        return self._requests.send(".stop", request, wait_s=wait_s, until_gone=until_gone)

    @cached_property
    def _requests(self) -> "Requests":
        from daemon.client.requests import Requests

        return Requests(self.layout, clock=self._clock, sleep=self._sleep)

    # ---- what happens

    def events(self, *, after: int = 0, limit: int = 1_000) -> "list[RecordedEvent]":
        """Return the first events after the one numbered `after`, oldest first.

        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        return self.history.events(after=after, limit=limit)

    def follow(
        self,
        name: str,
        *,
        wait: Callable[[], bool],
        report: Callable[[str], None],
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass events on to a follower as they come: none is missed or repeated.

        Args:
            name: under which an installed package offers it.
            wait: called when there is nothing to pass on; returns whether to continue.
            report: called with what went wrong, such as events that are lost.
            started: called once the follower can work.
        Raises:
            FollowerUnusable: no package offers one of that name, or it cannot work.
            UnreadableHistory: the ledger could not be read when it was time to end.
        """
        from daemon.journal.followers import FollowerFailed, follow, load_follower
        from daemon.ledger.reader import UnreadableLedger

        with raising(FollowerUnusable, FollowerFailed), raising(UnreadableHistory, UnreadableLedger):
            follower = load_follower(name, self.layout)
            started()
            follow(follower, self.layout, wait=wait, report=report)

    def report(self, since: "Since", *, points: int = 500) -> "ModelsReport":
        """Return what has happened to the model since a time or a version, and what to do next.

        Args:
            since: as `since_seconds` and `since_version` in `daemon.client.models_report` return it.
            points: of each curve.
        Raises:
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.client.models_report import Sources, models_report

        sources = Sources(self.layout, self.status, self.settings, self.queue, self.history, self.models)
        return models_report(sources, since, points=points)

    def average(self) -> "AverageKept":
        """Return whether averaged weights are kept, and how good they are beside the last ones.

        Raises:
            InvalidSettings: the settings are invalid.
        """
        from daemon.client.average import average_of

        return average_of(self.layout, self.settings.effective().settings.training)

    # ---- files

    def wait_for(self, file: "AddedFile | str", *, timeout_s: float) -> "EndedFile":
        """Wait until a file's job has ended; return its record.

        Args:
            file: what `queue.add` returned, a name, or a job id.
        Raises:
            NotEnded: it has not ended in time.
            NoSuchFile: nobody knows a file of this name.
        """
        from daemon.client.waiting import wait_for

        return wait_for(self.layout, file, timeout_s=timeout_s, clock=self._clock, sleep=self._sleep)
