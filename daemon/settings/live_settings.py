"""The settings in force: those of `config.json` as it is now, or the last valid ones."""

import os
from collections.abc import Sequence
from pathlib import Path

from trainer.config.loader import BadConfig, load_settings
from trainer.config.schema import Settings

FIXED_IN_A_WORKER = (
    "method",
    "optimizer",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "lora_targets",
    "lora_dora",
    "lora_rslora",
    "precision",
    "tf32",
    "compile",
    "activation_checkpointing",
    "device",
    "processes",
    "cpu_threads",
)
"""Settings of training that are built into a worker when it loads the model."""


FIXED_IN_A_DAEMON = ("rescan_s", "settle_s", "settle_slow_s", "log_format")
"""Settings of `daemon` that are read when it starts."""


class LiveSettings:
    """Follows `config.json`.

    Args:
        overrides: `--set` texts, which stay in force.
    Raises:
        BadConfig: the settings are invalid at the start, when there are no earlier ones to keep.
    """

    def __init__(self, config_file: Path, overrides: Sequence[str]) -> None:
        self._config_file = config_file
        self._overrides = overrides
        self._signature = self._read_signature()
        self.current: Settings = load_settings(config_file, overrides=overrides).settings
        self._at_start = self.current.daemon
        self.problem: str | None = None
        """Why the present `config.json` is not in force."""

    def reload_if_changed(self) -> bool:
        """Look whether the file has changed; return whether it had."""
        signature = self._read_signature()
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self.current = load_settings(self._config_file, overrides=self._overrides).settings
            self.problem = None
        except BadConfig as error:
            self.problem = f"{error}; the previous settings stay in force"
        return True

    @property
    def is_there(self) -> bool:
        """Whether there is a `config.json`; else the defaults are in force."""
        return self._signature is not None

    @property
    def after_restart(self) -> tuple[str, ...]:
        """The settings that have other values than those with which this daemon has started, and keeps."""
        return tuple(
            f"daemon.{name}"
            for name in FIXED_IN_A_DAEMON
            if getattr(self.current.daemon, name) != getattr(self._at_start, name)
        )

    def _read_signature(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._config_file)
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)


def needs_new_worker(running: Settings, wanted: Settings) -> bool:
    """Whether only a new worker can honour `wanted`."""

    def fixed(settings: Settings) -> tuple[object, ...]:
        training = settings.training
        # The length may not change at all, which a new worker says in so many words
        of_training = tuple(getattr(training, name) for name in FIXED_IN_A_WORKER)
        return (settings.model, settings.data.max_length, of_training)

    return fixed(running) != fixed(wanted)
