"""Disk space: what the process that frees it is asked, what it answers, and `status/disk.json`."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, computed_field

from trainer.protocol.one_shot import OneShotOrder

MODULE = "trainer.mains.disk"
REPORT_NAME = "disk.json"  # in status/
MOST_MARGIN_BYTES = 1 << 30
SAMPLES_KEPT = 48
SAMPLE_EVERY_S = 600.0
LEAST_SPAN_S = 1800.0
"""Growth over less time than this says nothing."""

ActKind = Literal[
    "leftover",
    "version_trash",
    "queue_trash",
    "token_cache",
    "base_model",
    "optimizer_state",
    "checkpoint",
]
ORDER: tuple[ActKind, ...] = get_args(ActKind)
"""What goes first comes first."""
IRREPLACEABLE: tuple[ActKind, ...] = ("optimizer_state", "checkpoint")
"""What is gone for good although nobody has thrown it away: a backup is made before that."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Place(_Frozen):
    """Files of one kind."""

    name: str
    folder: str
    """Relative to the working directory; a whole path where it lies elsewhere."""
    bytes: int
    """On disk. A file with several names is counted once, in the first place that has one of them."""
    files: int


class Usage(_Frozen):
    """What takes space in a working directory."""

    places: tuple[Place, ...]
    free_bytes: int
    """Of the file system of `models/`, for this user."""
    total_bytes: int
    """Of that file system."""
    checkpoint_bytes: int
    """Size of the newest checkpoint; 0 if there is none."""

    @property
    def used_bytes(self) -> int:
        return sum(place.bytes for place in self.places)


class Act(_Frozen):
    """One thing that is removed."""

    kind: ActKind
    path: str
    """Relative to the working directory; printable."""
    frees_bytes: int
    """What nothing else links, once the acts before it are done."""
    after: str | None = None
    """The path of an act without which this one would free nothing, and is left out."""


class Left(_Frozen):
    """Something that takes space and is not removed."""

    path: str
    """Relative to the working directory; printable."""
    why: str


class CleaningPlan(_Frozen):
    """What is removed to free space, or was."""

    acts: tuple[Act, ...]
    """In this order."""
    left: tuple[Left, ...]
    free_bytes: int
    """Of the file system of `models/`: before the acts of a plan, after those that are done."""
    wanted_bytes: int | None
    """Free space that is wanted; None for as much as may be freed."""
    is_done: bool
    """Whether the acts were carried out."""
    is_for_worker: bool = False
    """Some checkpoints are left because only the worker that runs can remove them."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def frees_bytes(self) -> int:
        """What the acts free together."""
        return sum(act.frees_bytes for act in self.acts)

    @property
    def versions(self) -> tuple[str, ...]:
        """Ids of the versions that lose something which cannot be rebuilt."""
        return tuple(PurePath(act.path).name for act in self.acts if act.kind == "optimizer_state")

    @property
    def takes_model_files(self) -> bool:
        """Whether files of the model go that are neither thrown away nor rebuilt."""
        return any(act.kind in IRREPLACEABLE for act in self.acts)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_enough(self) -> bool:
        """Whether as much is free as is wanted, after the acts."""
        free = self.free_bytes + (0 if self.is_done else self.frees_bytes)
        return self.wanted_bytes is None or free >= self.wanted_bytes


class MeasureOrder(OneShotOrder):
    """Say what takes space."""

    base_dir: Path
    """The working directory; absolute."""
    backups: Path | None = None
    """The folder that backups go to; None if they go to a server, or nowhere."""


class SpineRules(_Frozen):
    """Which checkpoints of the spine stay, as the settings of the same names say."""

    keep_last: int = 3
    keep_every: int | None = None
    keep_best: int = 0
    spine_max_bytes: int = 0
    """Besides what the others keep."""


class CleanOrder(MeasureOrder):
    """Plan what is removed, or remove it."""

    wanted_bytes: int | None
    """Free space that is wanted; None for as much as may be freed."""
    version_trash_kept_s: float
    queue_trash_kept_s: float | None
    """None to keep it for ever."""
    spine: SpineRules = SpineRules()
    enough_bytes: int = 0
    """Remove what can neither be rebuilt nor was thrown away only if so much is free then."""
    worker_obeys: bool = False
    """Whoever asks tells a worker that runs to remove what only that can, so count on it."""
    carry_out: bool = False
    only: tuple[str, ...] | None = None
    """Paths of the acts that somebody has agreed to; None for all."""


class DiskOrder(OneShotOrder):
    """One of both."""

    order: CleanOrder | MeasureOrder


class Sample(_Frozen):
    """What was used at one time."""

    at: float
    """Unix seconds."""
    used_bytes: int


class Cleaning(_Frozen):
    """What the daemon freed last by itself."""

    at: str
    """UTC, ISO 8601."""
    freed_bytes: int
    removed: tuple[str, ...]
    """The first paths."""


class DiskReport(_Frozen):
    """The content of `status/disk.json`."""

    measured_at: str
    """UTC, ISO 8601."""
    usage: Usage
    used_bytes: int
    growth_bytes_per_hour: float | None
    """Over the last hours; None while they are too few."""
    full_in_s: float | None
    """Seconds until the disk is full at this pace; None if it is not known or nothing grows."""
    samples: tuple[Sample, ...]
    """Oldest first; since the daemon last freed something."""
    last_cleaning: Cleaning | None = None


def limit_bytes(own: int | None, *, blocks_below: int, checkpoint_bytes: int) -> int:
    """Return below how much free space some is freed; 0 for never.

    Args:
        own: `disk.min_free_bytes`.
        blocks_below: `daemon.min_free_bytes`.
        checkpoint_bytes: size of the newest checkpoint, which is saved only where two fit.
    """
    wanted = max(own or 0, blocks_below)
    return max(wanted, 2 * checkpoint_bytes) if own != 0 and wanted else 0


def with_margin(wanted: int) -> int:
    """Return how much is to be free afterwards, or a moment later as little would be free again."""
    return wanted + min(wanted // 10, MOST_MARGIN_BYTES)


def with_sample(samples: Sequence[Sample], new: Sample) -> tuple[Sample, ...]:
    """Return the samples with a new one; the one before makes room for it if it is too close to its own."""
    earlier = [sample for sample in samples if sample.at < new.at]  # the clock may have been set back
    if len(earlier) >= 2 and earlier[-1].at - earlier[-2].at < SAMPLE_EVERY_S:
        del earlier[-1]
    return (*earlier[-(SAMPLES_KEPT - 1) :], new)


def growth_per_hour(samples: Sequence[Sample]) -> float | None:
    """Return how many bytes an hour has added; None over too short a time."""
    if len(samples) < 2 or (span_s := samples[-1].at - samples[0].at) < LEAST_SPAN_S:
        return None
    return (samples[-1].used_bytes - samples[0].used_bytes) / span_s * 3600


def full_in_s(free_bytes: int, growth: float | None) -> float | None:
    """Return after how many seconds nothing is free any more; None if that is not to be seen."""
    return free_bytes / growth * 3600 if growth and growth > 0 else None
