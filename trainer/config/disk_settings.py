"""The settings of disk space."""

from typing import Annotated

from pydantic import Field

from trainer.config.section import Seconds, Section


class DiskSettings(Section):
    """Measuring what takes space, and freeing it: see `docs/models/disk.md`.

    A change takes effect immediately. Whatever is set here, training is blocked below
    `daemon.min_free_bytes`.
    """

    min_free_bytes: Annotated[int, Field(ge=0)] | None = None
    """Free disk space below which the daemon frees some as `training_models gc` does; 0 never frees any.
    If `daemon.min_free_bytes` or the size of two checkpoints is more, that counts."""

    version_trash_kept_s: Seconds = 604_800.0
    """Seconds that a deleted version can be brought back before the daemon may remove it."""

    queue_trash_kept_s: Seconds | None = None
    """Seconds after which files that were cleared away to `queue/.trash/` may be removed; null never does."""

    measure_interval_s: Annotated[float, Field(ge=10)] = 300.0
    """Seconds between two measurements of the working directory. They take at most 1 % of the time."""
