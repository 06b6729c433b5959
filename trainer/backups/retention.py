"""Which backups are kept: the newest ones, and the newest of each of some days, weeks and months. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

from trainer.backups.manifest import BackupManifest
from trainer.protocol.backups import Keep


def kept(backups: Sequence[BackupManifest], keep: Keep) -> set[str]:
    """Return the ids of the backups that are kept; the newest one is always among them."""
    newest_first = sorted(backups, key=lambda backup: backup.id, reverse=True)
    chosen = {backup.id for backup in newest_first[: max(1, keep.last)]}
    for period, count in ((_day, keep.daily), (_week, keep.weekly), (_month, keep.monthly)):
        chosen |= _newest_of_each(newest_first, period, count)
    return chosen


def _newest_of_each(
    newest_first: Sequence[BackupManifest], period: Callable[[datetime], object], count: int
) -> set[str]:
    found: dict[object, str] = {}
    for backup in newest_first:
        found.setdefault(period(datetime.strptime(backup.id[:15], "%Y%m%d-%H%M%S")), backup.id)
    return set(list(found.values())[:count])


def _day(at: datetime) -> object:
    return at.date()


def _week(at: datetime) -> object:
    return at.isocalendar()[:2]


def _month(at: datetime) -> object:
    return (at.year, at.month)
