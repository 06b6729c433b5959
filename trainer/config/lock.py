"""Settings that cannot change once a model was trained with them: it would be another model.

Pure. The values in force are kept in every checkpoint; a change on purpose is recorded there, too.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.config.schema import Settings
from trainer.protocol.manifest import Unlocked
from trainer.protocol.text import printable

CAN_BE_UNLOCKED = ("model.base_model", "model.chat_template", "model.template_options", "data.max_length")
"""The others decide which tensors a checkpoint has: no permission would make them fit."""
ALWAYS = (
    "model.base_model",
    "model.chat_template",
    "model.template_options",
    "model.grow_vocabulary",
    "training.method",
    "training.optimizer",
    "data.max_length",
)
OF_ADAPTERS = (
    "training.lora_rank",
    "training.lora_alpha",
    "training.lora_targets",
    "training.lora_dora",
    "training.lora_rslora",
)
BEFORE_IT_COULD_BE_SET: dict[str, Any] = {
    "model.template_options": {},
    "model.grow_vocabulary": False,
    "training.optimizer": "adamw",
    "training.lora_dora": False,
    "training.lora_rslora": False,
}
"""What the checkpoints of earlier releases were trained with, which do not say so."""


class LockedSetting(ValueError):
    """A setting was changed that the checkpoints in `models/` depend on."""


def locked_values(settings: Settings) -> dict[str, Any]:
    """Return the settings that the first checkpoint locks, by their names."""
    names = ALWAYS + (OF_ADAPTERS if settings.training.uses_adapter else ())
    return {name: _value(settings, name) for name in names}


def check_lock(
    locked: Mapping[str, Any], settings: Settings, permissions: Iterable[Unlocked]
) -> tuple[Unlocked, ...]:
    """Return the changes that are permitted.

    Args:
        locked: names and values, as a checkpoint has them.
        permissions: changes that somebody has allowed on purpose.
    Raises:
        LockedSetting: another value differs.
    """
    changes, refusals = compare_locked(locked, settings, permissions)
    for refusal in refusals:
        raise refusal
    return changes


def compare_locked(
    locked: Mapping[str, Any], settings: Settings, permissions: Iterable[Unlocked]
) -> tuple[tuple[Unlocked, ...], tuple[LockedSetting, ...]]:
    """Return the changes that are permitted, and an error for each that is not; see `check_lock`."""
    allowed: Sequence[Unlocked] = tuple(permissions)
    changes, refusals = [], []
    unsaid = {name: was for name, was in BEFORE_IT_COULD_BE_SET.items() if name in locked_values(settings)}
    for name, was in (unsaid | dict(locked)).items():
        try:
            now = _value(settings, name)
        except AttributeError:
            unknown = f"{printable(name)} is not a setting of this release"
            refusals.append(LockedSetting(f"{unknown}; use the release that wrote the checkpoint"))
            continue
        if now == was:
            continue
        permission = next((p for p in allowed if (p.setting, p.was, p.becomes) == (name, was, now)), None)
        if permission and name in CAN_BE_UNLOCKED:
            changes.append(permission)
        else:
            refusals.append(_refusal(name, was, now))
    return tuple(changes), tuple(refusals)


def _refusal(name: str, was: Any, now: Any) -> LockedSetting:
    permit = f", or allow it: training_health unlock {name}" if name in CAN_BE_UNLOCKED else ""
    return LockedSetting(
        f"{name} is {_shown(now)}, but the checkpoints in models/ were trained with {_shown(was)}; "
        f"set it back (if it came with --set: training_daemon restart --no-set), or use another working "
        f"directory (--base-dir){permit}"
    )


def _value(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
