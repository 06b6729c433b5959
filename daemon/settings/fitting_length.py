"""Which `data.max_length` fits a file, and whether it may be set."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from daemon.checkpoints.review import newest_whole, review_sizes
from daemon.settings.config_edit import with_setting
from trainer.config.loader import Effective
from trainer.protocol.checkpoints import POINTER
from trainer.protocol.data_report import TokenLengths
from trainer.protocol.files import UnreadableFile, read_json, write_atomically
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

SETTING = "data.max_length"
ROUNDED_TO = 64
POSITIONS = ("max_position_embeddings", "n_positions")


class CannotAdjust(ValueError):
    """The setting is not to be changed by a command; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Another length."""

    length: int
    reason: str


def propose(lengths: TokenLengths, *, current: int, model_limit: int | None) -> Proposal | None:
    """Return a length that cuts off one row in a hundred at most; None if that is so already.

    It is never less than the current one: less would cut off more, and save nothing.

    Args:
        model_limit: tokens the model has positions for; None if that is not known.
    """
    fitting = math.ceil(lengths.p99 / ROUNDED_TO) * ROUNDED_TO
    reason = f"99 of 100 rows have at most {lengths.p99:,} tokens"
    if model_limit is None:
        reason += "; the model's own limit is not known until it is first loaded"
    elif fitting > model_limit:
        fitting = model_limit
        reason += f", of which the model accepts {model_limit:,}; longer rows remain too long"
    return Proposal(length=fitting, reason=reason) if lengths.p99 > current < fitting else None


def model_limit(layout: Layout, base_model: str) -> int | None:
    """Return how many tokens the model has positions for; None if its configuration is not on this disk."""
    base_models = [layout.base / Path(base_model).expanduser(), layout.models / base_model]
    for folder in [layout.models / POINTER, *base_models]:
        try:
            config = read_json(folder / "config.json")
        except (OSError, UnreadableFile):
            continue
        if isinstance(config, dict):
            of_text = config.get("text_config", config)
            found = [of_text[key] for key in POSITIONS if isinstance(of_text.get(key), int)]
            return min(found) if found else None
    return None


def refuse_locked(layout: Layout, length: int) -> None:
    """Refuse a length that a checkpoint stands against.

    Raises:
        CannotAdjust: it does.
    """
    newest = newest_whole(review_sizes(layout.models))
    locked = newest.manifest.locked.get(SETTING) if newest else None
    if newest and locked not in (None, length):
        raise CannotAdjust(
            f"{SETTING} is locked at {locked} by {printable(newest.path.name)}; to change it anyway, "
            f"set it to {length} in config.json and allow it: training_health unlock {SETTING}"
        )


def write_length(layout: Layout, effective: Effective, length: int) -> None:
    """Set `data.max_length` in `config.json`, and touch nothing else in it.

    Raises:
        CannotAdjust: a checkpoint stands against it, or something that overrules config.json.
    """
    refuse_locked(layout, length)
    origin = effective.origins.get(SETTING, layout.config_file.name)
    if origin != layout.config_file.name:
        raise CannotAdjust(
            f"{SETTING} comes from the {origin}, which overrides config.json; set it to {length} there"
        )
    path = layout.config_file.resolve()  # a link of one's own stays one
    content = path.read_bytes() if path.exists() else b""
    encoding = json.detect_encoding(content)
    section, _, key = SETTING.partition(".")
    text = with_setting(content.decode(encoding), section, key, length)
    write_atomically(path, text.encode(encoding), durable=True)
