"""Every setting for a person: its value, where it comes from, whether it may change, and how that is done."""

import json
from dataclasses import dataclass
from typing import Any

from trainer.config.document import meanings
from trainer.config.loader import Effective
from trainer.config.lock import CAN_BE_UNLOCKED, locked_values
from trainer.config.schema import Settings, sections
from trainer.protocol.masking import HIDDEN, masked
from trainer.protocol.text import printable, shell_word

MAY_HOLD_SECRETS = ("notify", "backup", "tracking")
"""Sections whose texts may be addresses with a password, or with a key in their query."""


@dataclass(frozen=True, kw_only=True)
class DescribedSetting:
    """One setting. Every text is printable, and holds no password."""

    name: str
    """Such as training.learning_rate."""
    value: Any
    default: Any
    origin: str
    """`default`, or where it was set, such as config.json or --set."""
    meaning: str
    """In Markdown."""
    is_locked: bool
    """Whether the model's checkpoints depend on it."""
    can_be_unlocked: bool
    how_to_change: str
    """A sentence, with what to write or type."""


def described(effective: Effective, *, has_checkpoint: bool) -> list[DescribedSetting]:
    """Return every setting, in the order of the schema.

    Args:
        has_checkpoint: whether there is a model yet, which locks some of them.
    """
    now, defaults = effective.settings, Settings()
    locked = locked_values(now) if has_checkpoint else {}
    found = []
    for section, kind in sections().items():
        texts = meanings(kind)
        values, before = (getattr(settings, section).model_dump(mode="json") for settings in (now, defaults))
        for key in kind.model_fields:
            name = f"{section}.{key}"
            origin = effective.origins.get(name, "default")
            found.append(
                DescribedSetting(
                    name=name,
                    value=_shown(values[key], section),
                    default=_shown(before[key], section),
                    origin=printable(origin),
                    meaning=texts.get(key, ""),
                    is_locked=name in locked,
                    can_be_unlocked=name in locked and name in CAN_BE_UNLOCKED,
                    how_to_change=_how_to_change(name, values[key], origin, is_locked=name in locked),
                )
            )
    return found


def _how_to_change(name: str, value: Any, origin: str, *, is_locked: bool) -> str:
    if is_locked and name not in CAN_BE_UNLOCKED:
        return "The model's checkpoints depend on it: another value needs another working directory."
    if is_locked:
        return f"Change it in config.json, then allow that: training_health unlock {name}"
    if origin == "--set":
        return f"Restart with another value: training_daemon restart --set {shell_word(f'{name}=VALUE')}"
    if origin not in ("default", "config.json"):
        return f"It comes from {printable(origin)}, which goes before config.json."
    section, _, key = name.partition(".")
    example = json.dumps({section: {key: _shown(value, section)}}, ensure_ascii=False)
    return f"In config.json: {printable(example, limit=200)}"


def _shown(value: Any, section: str) -> Any:
    """Return a value without what lets somebody in: a password, a path or a query that is a key."""
    if section not in MAY_HOLD_SECRETS:
        return value
    if isinstance(value, list):
        return [_shown(part, section) for part in value]
    if isinstance(value, dict):
        return {key: _shown(part, section) for key, part in value.items()}
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme, _, rest = masked(value).partition("://")
    place, slash, _ = rest.partition("/")
    return f"{scheme}://{place}/{HIDDEN}" if slash and section != "backup" else f"{scheme}://{rest}"
