"""The settings a daemon would use, and which locked one may change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.client.errors import CannotUnlock, InvalidSettings, raising
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.asked_of_model import AskedOfModel
    from daemon.client.described_settings import DescribedSetting
    from trainer.config.loader import Effective
    from trainer.config.schema import Settings


@dataclass(frozen=True)
class LockedChange:
    """A locked setting that has another value in config.json, or by --set, than in the newest checkpoint."""

    setting: str
    """Such as data.max_length."""
    was: Any
    becomes: Any
    text: str
    """The same for a person; printable."""


class ClientSettings:
    """The settings of one working directory; the defaults where it has no config.json."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def effective(self, overrides: Sequence[str] = ()) -> "Effective":
        """Return all settings, and where each came from.

        Args:
            overrides: `SECTION.KEY=VALUE` texts.
        Raises:
            InvalidSettings: they are invalid.
        """
        from trainer.config.loader import BadConfig, load_settings  # not every command needs them

        with raising(InvalidSettings, BadConfig):
            return load_settings(self._layout.config_file, overrides=overrides)

    def described(self) -> "list[DescribedSetting]":
        """Return every setting that a daemon here has, or would have, with how it is changed.

        Raises:
            InvalidSettings: they are invalid.
        """
        from daemon.client.described_settings import described
        from daemon.client.starting import given_overrides
        from daemon.status.reader import read_status
        from trainer.protocol.checkpoints import POINTER

        runs = read_status(self._layout).is_running
        effective = self.effective(given_overrides(self._layout) if runs else [])
        return described(effective, has_checkpoint=(self._layout.models / POINTER).exists())

    def asked_of_model(self) -> "AskedOfModel":
        """Return which suites and prompts the settings name, with the overrides of a daemon that runs.

        Raises:
            InvalidSettings: they are invalid.
        """
        from daemon.client.asked_of_model import asked_of_model
        from daemon.client.starting import given_overrides
        from daemon.status.reader import read_status

        runs = read_status(self._layout).is_running
        return asked_of_model(self.effective(given_overrides(self._layout) if runs else []).settings)

    def hidden_faults(self, overrides: Sequence[str]) -> list[str]:
        """Return a sentence for what is wrong in config.json while overrides take its place; none without.

        Args:
            overrides: `SECTION.KEY=VALUE` texts with which the settings are valid.
        """
        if not overrides:
            return []
        try:
            self.effective()
        except InvalidSettings as error:
            faults = str(error).splitlines()
            return [f"{fault}; --set hides this, but a daemon without it would not start" for fault in faults]
        return []

    def locked_fault(self, overrides: Sequence[str]) -> str | None:
        """Return which locked setting has a value that blocks training, and what to do; None if none has.

        Args:
            overrides: `SECTION.KEY=VALUE` texts.
        """
        from daemon.checkpoints.review import newest_whole, review_sizes
        from daemon.client.restart import locked_refusal

        newest = newest_whole(review_sizes(self._layout.models))
        return locked_refusal(self._layout, newest.manifest, overrides) if newest else None

    def unusable_names(self, settings: "Settings") -> list[str]:
        """Return a sentence for each setting that names a file, a model or a profile which is not there."""
        from daemon.client.named_files import unusable_names

        return list(unusable_names(settings, self._layout.base))

    def remarks(self, overrides: Sequence[str] = ()) -> list[str]:
        """Return a sentence for each profile of an installed package that cannot be chosen.

        And one for a base model that was merged here, and takes the place of the one in the settings; and
        one for what the daemon that runs here was given with `--set` and these overrides leave out.
        """
        from trainer.profiles.registry import hidden_profiles

        hidden = [printable(text) for text in hidden_profiles()]
        return hidden + self._base_in_use() + self.left_out(overrides)

    def left_out(self, overrides: Sequence[str]) -> list[str]:
        """Say what the daemon that runs here was given with `--set` and these overrides leave out."""
        from daemon.client.starting import given_overrides
        from daemon.status.reader import read_status

        if not read_status(self._layout).is_running:
            return []
        given = [
            f"--set {printable(text)}" for text in given_overrides(self._layout) if text not in overrides
        ]
        if not given:
            return []
        return [f"the daemon that runs here has {' '.join(given)}; give the same here to see what it does"]

    def _base_in_use(self) -> list[str]:
        """Say which base model takes the place of `model.base_model`, if one does."""
        from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest

        try:
            manifest = read_manifest((self._layout.models / POINTER).resolve(strict=True))
        except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
            return []
        if manifest.own_base is None:
            return []
        return [
            f"model.base_model is {printable(manifest.base_model)}, into which training_models consolidate "
            f"has merged an adapter: the newest checkpoint is trained beside models/{manifest.own_base}"
        ]

    def locked_change(self, setting: str) -> LockedChange:
        """Return which change of a locked setting would be allowed by `unlock`.

        Raises:
            CannotUnlock: there is none.
        """
        from daemon.client.starting import overrides_in_force
        from daemon.settings.unlocking import CannotUnlock as NothingToUnlock
        from daemon.settings.unlocking import find_change, value_text
        from trainer.config.loader import BadConfig
        from trainer.protocol.files import UnreadableFile

        with raising(CannotUnlock, NothingToUnlock, BadConfig, UnreadableFile):
            was, becomes = find_change(self._layout, setting, overrides_in_force(self._layout))
        text = f"{setting}: from {value_text(was)} to {value_text(becomes)}"
        return LockedChange(setting, was, becomes, text)

    def unlock(self, change: LockedChange) -> bool:
        """Allow a locked setting to take the value it has now; return whether it was not allowed yet.

        Raises:
            CannotUnlock: what has been allowed so far cannot be read.
        """
        from trainer.protocol.files import UnreadableFile
        from trainer.protocol.permissions import give_permission
        from trainer.protocol.text import utc_text

        with raising(CannotUnlock, UnreadableFile):
            return give_permission(
                self._layout.models, change.setting, change.was, change.becomes, at=utc_text(time.time())
            )
