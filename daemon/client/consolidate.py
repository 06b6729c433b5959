"""Merge the adapter into its base model: say what that means, and have it done, with or without a daemon."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from daemon.client.advice import SOMEBODY_ACTS
from daemon.client.errors import ClientError, UnreadableHistory, raising
from daemon.client.helper_process import ask
from daemon.client.settings import ClientSettings
from daemon.jobs.consolidation import (
    CannotMerge,
    ConsolidationPlan,
    order_consolidation,
    plan_consolidation,
)
from daemon.jobs.wishes import NOT_MERGED
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.protocol.layout import Layout
from trainer.versions.consolidation import MODULE, Consolidated
from trainer.versions.record import DamagedVersion

if TYPE_CHECKING:
    from daemon.client.backups import Backups
    from daemon.client.requests import Requests

WAIT_S = 24 * 3600.0  # for a step to end, a save, and a large model to be merged


class NotMerged(ClientError):
    """The adapter cannot be merged, or was not."""


class Consolidations:
    """Plans and carries out the merging of adapters in one working directory."""

    def __init__(
        self,
        layout: Layout,
        settings: ClientSettings,
        requests: "Requests",
        backups: Callable[[], "Backups"],
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._requests = requests
        self._backups = backups

    def plan(self) -> ConsolidationPlan:
        """Return what merging the adapter of the newest checkpoint means; a daemon saves another one first.

        Raises:
            NotMerged: there is no adapter to merge.
            InvalidSettings: the settings are invalid.
        """
        settings = self._settings.effective().settings
        status = read_status(self._layout)
        has_worker = status.is_running and status.fields.get("worker_pid")
        step = status.fields.get("current_step") if has_worker else None
        with raising(NotMerged, CannotMerge):
            return plan_consolidation(self._layout, settings.training.method, step=step)

    def carry_out(self, *, on_progress: Callable[[str], object] = lambda words: None) -> str:
        """Have the adapter merged, after a backup (`backup.before`); return what was done in words.

        Args:
            on_progress: called with words on how far it is, without a daemon.
        Raises:
            NotMerged: it was not.
            BackupRefused: the same, because no backup could be made.
            FileRefused, HelperFailed: the same, when no daemon is running.
        """
        self.plan()  # no backup for what cannot be done
        self._backups().before("consolidate")  # training continues meanwhile
        if read_status(self._layout).is_running:
            result = self._requests.send(".consolidate", {}, wait_s=WAIT_S).result
            if result.startswith(NOT_MERGED):
                raise NotMerged(result)
            return result
        try:
            with FileLock(self._layout.lock_file, blocking=False):
                return self._without_daemon(on_progress)
        except Timeout as error:
            raise NotMerged(SOMEBODY_ACTS) from error

    def _without_daemon(self, on_progress: Callable[[str], object]) -> str:
        settings = self._settings.effective().settings.model_dump(mode="json")
        with raising(NotMerged, CannotMerge, DamagedVersion), raising(UnreadableHistory, UnreadableLedger):
            order = order_consolidation(self._layout, settings, clock=time.time)
        return ask(MODULE, order, Consolidated, on_progress=on_progress).text
