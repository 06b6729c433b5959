"""The settings of backups."""

from typing import Annotated, Literal

from pydantic import Field, field_serializer, field_validator
from pydantic_core import PydanticCustomError

from trainer.config.section import FileName, Positive, Section
from trainer.protocol.masking import masked

Occasion = Literal["consolidate", "delete", "gc"]
OCCASIONS: list[Occasion] = ["consolidate", "delete", "gc"]
NotNegative = Annotated[int, Field(ge=0)]


class BackupSettings(Section):
    """Copies of the model on another disk or machine: see `docs/models/backups.md`.

    A change takes effect immediately.
    """

    to: Annotated[FileName, Field(min_length=1)] | None = None
    """Where backups go: a folder (relative to the working directory), or an address such as
    `sftp://user@host/folder` or `s3://bucket/folder`. null makes none. Servers need a package of their own,
    such as paramiko or s3fs. Better than a password in it are keys, as `ssh` and the cloud's own tools have
    them; one that is in it is never shown or copied."""

    interval_s: Annotated[float, Field(ge=60)] = 86_400.0
    """Seconds between two backups that the daemon makes by itself. It runs them at the lowest priority."""

    before: list[Occasion] = OCCASIONS
    """Commands that do nothing before a backup was made: `consolidate` merges an adapter, `delete` moves a
    version to the trash, `gc` removes checkpoints or optimizer states. The daemon frees
    space without."""

    keep_last: Positive = 3
    """How many of the newest backups are kept. Older ones are removed after each backup that the daemon
    makes, and by `training_models backup prune`."""

    keep_daily: NotNegative = 7
    """Of how many days the newest backup is kept, besides those."""

    keep_weekly: NotNegative = 4
    """Of how many weeks the newest backup is kept, besides those."""

    keep_monthly: NotNegative = 12
    """Of how many months the newest backup is kept, besides those."""

    fingerprint_max_bytes: NotNegative = 4_000_000_000
    """Models with more bytes of weights get no fingerprint of their logits, with which
    `training_models backup drill` compares: computing it takes a second copy of the model in RAM. 0 computes
    none."""

    @field_validator("to")
    @classmethod
    def _refuse_line_breaks(cls, to: str | None) -> str | None:
        if to is not None and not to.isprintable():
            raise PydanticCustomError("backup_to", "a folder or an address, without control characters")
        return to

    @field_serializer("to")
    def _without_password(self, to: str | None) -> str | None:
        # Settings are written into checkpoints, versions and what --check-config prints
        return None if to is None else masked(to)
