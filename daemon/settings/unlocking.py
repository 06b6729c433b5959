"""Which change of a locked setting a person means to allow."""

import json
from collections.abc import Sequence
from typing import Any

from daemon.checkpoints.review import newest_whole, review_sizes
from trainer.config.loader import load_settings
from trainer.config.lock import CAN_BE_UNLOCKED
from trainer.config.schema import Settings
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable


class CannotUnlock(ValueError):
    """There is nothing to allow; the message says why."""


def find_change(layout: Layout, setting: str, overrides: Sequence[str]) -> tuple[Any, Any]:
    """Return the value of a locked setting in the newest checkpoint, and the one it has now.

    Args:
        overrides: `--set` texts in force.
    Raises:
        CannotUnlock: there is no checkpoint, it does not lock this setting, or the values are equal.
        BadConfig: the settings are invalid.
    """
    newest = newest_whole(review_sizes(layout.models))
    if newest is None:
        raise CannotUnlock(
            f"{layout.models}: there is no complete checkpoint, so nothing is locked; set it in config.json"
        )
    locked = newest.manifest.locked
    if setting not in locked:
        names = ", ".join(map(printable, sorted(locked))) or "nothing"
        raise CannotUnlock(f"{printable(setting)} is not locked; {printable(newest.path.name)} locks {names}")
    if setting not in CAN_BE_UNLOCKED:
        raise CannotUnlock(
            f"{setting} decides which tensors a checkpoint has, so it cannot be unlocked; expected one of "
            f"{', '.join(CAN_BE_UNLOCKED)}; use another working directory (--base-dir) for another model"
        )
    settings = load_settings(layout.config_file, overrides=overrides).settings
    was, becomes = locked[setting], _value(settings, setting)
    if becomes == was:
        raise CannotUnlock(
            f"{setting} is {value_text(was)}, as in the newest checkpoint; first change it, in config.json "
            "or with training_daemon restart --set"
        )
    return was, becomes


def value_text(value: Any) -> str:
    """Return a setting's value as it would stand in config.json, printable."""
    return printable(json.dumps(value, ensure_ascii=False))


def _value(settings: Settings, setting: str) -> Any:
    section, _, key = setting.partition(".")
    try:
        return settings.model_dump(mode="json")[section][key]
    except KeyError as error:
        raise CannotUnlock(
            f"{printable(setting)} is not a setting of this release; use the one that wrote the checkpoint"
        ) from error
