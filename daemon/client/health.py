"""Check a working directory, and repair what can be repaired without risk."""

import time
from typing import TYPE_CHECKING

from daemon.client.errors import InvalidSettings, UnreadableHistory, raising
from daemon.client.named_files import unusable_names
from daemon.client.starting import overrides_in_force
from daemon.health.check_result import CheckResult
from daemon.health.health_check import examine
from daemon.health.processes import find_workers
from daemon.health.repair import repair
from daemon.status.reader import read_status
from trainer.protocol.layout import Layout

if TYPE_CHECKING:
    from daemon.diagnosis.findings import Diagnosis


class Health:
    """The health of one working directory, with a daemon or without."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def check(self) -> list[CheckResult]:
        """Return how each part is, and what to do about it."""
        return examine(
            self._layout,
            read_status(self._layout),
            now=time.time(),
            overrides=overrides_in_force(self._layout),
            unusable_names=lambda settings: list(unusable_names(settings, self._layout.base)),
        )

    def diagnose(self) -> "Diagnosis":
        """Return what ails the training so far, and what was examined.

        Raises:
            InvalidSettings: the settings in force cannot be read.
            UnreadableHistory: the ledger cannot be read.
        """
        from daemon.diagnosis.diagnose import diagnose  # not every command needs these
        from daemon.diagnosis.observations import observe
        from daemon.ledger.reader import UnreadableLedger
        from trainer.config.loader import BadConfig, load_settings

        with raising(InvalidSettings, BadConfig):
            settings = load_settings(self._layout.config_file).settings
        with raising(UnreadableHistory, UnreadableLedger):
            return diagnose(observe(self._layout, settings))

    def workers_left(self) -> list[int]:
        """Return the process numbers of workers whose daemon is gone: they save, and exit."""
        return [] if read_status(self._layout).is_running else find_workers(self._layout.base)

    def repair(self) -> list[str]:
        """Create missing folders, close open ones, remove left-overs; return a sentence for each."""
        return repair(self._layout)
