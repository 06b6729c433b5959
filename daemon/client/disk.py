"""Disk space: what takes it, how fast it grows, and freeing some. Needs no daemon."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from daemon.client.errors import ClientError
from daemon.client.settings import ClientSettings
from daemon.files.kept import KeptUse, kept_use
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.disk import (
    MODULE,
    ORDER,
    REPORT_NAME,
    ActKind,
    CleaningPlan,
    CleanOrder,
    DiskOrder,
    DiskReport,
    MeasureOrder,
    SpineRules,
    Usage,
    full_in_s,
    limit_bytes,
    with_margin,
)
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.masking import local_folder
from trainer.protocol.one_shot import NoAnswer, OrderRefused

if TYPE_CHECKING:
    from daemon.client.backups import Backups

Answer = TypeVar("Answer", Usage, CleaningPlan)


class DiskNotCleaned(ClientError):
    """Space could not be measured or freed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Freeable:
    """What could be freed of one kind."""

    kind: ActKind
    bytes: int
    count: int


@dataclass(frozen=True, kw_only=True)
class DiskUsage:
    """What takes space now, and what the daemon knows of how it grows."""

    usage: Usage
    used_bytes: int
    growth_bytes_per_hour: float | None
    """Over the last hours in which a daemon measured; None if it did not for long enough."""
    full_in_s: float | None
    """Seconds until the disk is full at this pace; None if it is not known or nothing grows."""
    wanted_bytes: int
    """Free space below which the daemon frees some by itself; 0 if it never does."""
    freeable: tuple[Freeable, ...]
    """What `training_models gc --all` would free, by kind."""
    kept: KeptUse
    """Files in `models/data/`."""


class Disk:
    """The disk space of one working directory."""

    def __init__(self, layout: Layout, settings: ClientSettings, backups: Callable[[], "Backups"]) -> None:
        self._layout = layout
        self._settings = settings
        self._backups = backups

    def usage(self) -> DiskUsage:
        """Measure what takes space.

        Raises:
            DiskNotCleaned: it cannot be measured.
        """
        settings = self._settings.effective().settings
        backups = local_folder(settings.backup.to, self._layout.base)
        usage = self._ask(MeasureOrder(base_dir=self._layout.base, backups=backups), Usage)
        plan = self.plan(wanted_bytes=None)
        report = self._report()
        growth = report.growth_bytes_per_hour if report else None
        return DiskUsage(
            usage=usage,
            used_bytes=usage.used_bytes,
            growth_bytes_per_hour=growth,
            full_in_s=full_in_s(usage.free_bytes, growth),
            wanted_bytes=self.wanted_bytes(),
            freeable=tuple(_freeable(plan)),
            kept=kept_use(
                self._layout.kept_files, budget_bytes=settings.forget.kept_files_bytes, now=time.time()
            ),
        )

    def wanted_bytes(self) -> int:
        """Return below how much free space the daemon frees some; 0 if it never does."""
        settings = self._settings.effective().settings
        return limit_bytes(
            settings.disk.min_free_bytes,
            blocks_below=settings.daemon.min_free_bytes,
            checkpoint_bytes=self._checkpoint_bytes(),
        )

    def usual_bytes(self) -> int:
        """Return until how much is free `training_models gc` continues by itself: a little more than that."""
        return with_margin(self.wanted_bytes())

    def plan(self, *, wanted_bytes: int | None) -> CleaningPlan:
        """Plan what is removed.

        Args:
            wanted_bytes: free space that is wanted; None for as much as may be freed.
        Raises:
            DiskNotCleaned: nothing can be planned.
        """
        return self._ask(self._order(wanted_bytes), CleaningPlan)

    def carry_out(self, plan: CleaningPlan) -> CleaningPlan:
        """Remove what a plan says, as far as it may still be removed; return what was.

        Before checkpoints or optimizer states go, a backup is made (`backup.before`).

        Raises:
            DiskNotCleaned: nothing was.
            BackupRefused: the same, because no backup could be made.
        """
        if plan.takes_model_files:  # trash and caches go on a disk that is too full for a backup, too
            self._backups().before("gc", versions=plan.versions)
        update = {"carry_out": True, "only": tuple(act.path for act in plan.acts)}
        return self._ask(self._order(plan.wanted_bytes).model_copy(update=update), CleaningPlan)

    # ---- inside

    def _order(self, wanted_bytes: int | None) -> CleanOrder:
        settings = self._settings.effective().settings
        return CleanOrder(
            base_dir=self._layout.base,
            wanted_bytes=wanted_bytes,
            spine=SpineRules.model_validate(settings.checkpoints, from_attributes=True),
            version_trash_kept_s=0.0,  # whoever asks for it means what they have deleted
            queue_trash_kept_s=settings.disk.queue_trash_kept_s,
        )

    def _ask(self, order: MeasureOrder, answer: type[Answer]) -> Answer:
        try:
            return one_shot.ask(MODULE, DiskOrder(order=order), answer)
        except OrderRefused as error:
            raise DiskNotCleaned(str(error)) from error
        except NoAnswer as error:
            raise DiskNotCleaned(
                f"the process for {self._layout.base} {error}; what it has removed is gone, all else is as "
                "before; try again"
            ) from error

    def _report(self) -> DiskReport | None:
        try:
            return DiskReport.model_validate(read_json(self._layout.status / REPORT_NAME))
        except (OSError, UnreadableFile, ValueError):
            return None

    def _checkpoint_bytes(self) -> int:
        try:
            return read_manifest((self._layout.models / POINTER).resolve(strict=True)).total_bytes
        except (OSError, DamagedCheckpoint, NoUsableCheckpoint):
            return 0


def _freeable(plan: CleaningPlan) -> list[Freeable]:
    found = []
    for kind in ORDER:
        acts = [act for act in plan.acts if act.kind == kind]
        if acts:
            found.append(Freeable(kind=kind, bytes=sum(act.frees_bytes for act in acts), count=len(acts)))
    return found
