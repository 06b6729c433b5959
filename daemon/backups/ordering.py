"""Say what a process must know to make a backup, and have one made before something is removed."""

from collections.abc import Callable
from pathlib import Path

from daemon.ledger.reader import UnreadableLedger
from daemon.ledger.trained_files import read_trained_files
from trainer.config.backup_settings import BackupSettings, Occasion
from trainer.protocol import one_shot
from trainer.protocol.backups import MODULE, BackupMade, BackupOrder, CreateTask, Keep
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import MANIFEST_NAME

LAST_STEP = 2**62
BEFORE: dict[Occasion, str] = {
    "consolidate": "before the adapter is merged",
    "delete": "before a version is deleted",
    "gc": "before disk space is freed",
}


def keep_of(settings: BackupSettings) -> Keep:
    """Return which backups are kept."""
    return Keep(
        last=settings.keep_last,
        daily=settings.keep_daily,
        weekly=settings.keep_weekly,
        monthly=settings.keep_monthly,
    )


def creation(
    layout: Layout,
    settings: BackupSettings,
    to: str,
    *,
    why: str,
    versions: tuple[str, ...] = (),
    saw: frozenset[str] = frozenset(),
    is_automatic: bool = False,
) -> BackupOrder:
    """Return the order to make a backup.

    Args:
        to: a folder or an address.
        versions: ids of those that are to be in it whole.
        saw: SHA-256 of files that these were trained on.
    """
    seen = files_seen(layout.ledger_file)
    task = CreateTask(
        why=why,
        versions=versions,
        saw=tuple(sorted((seen or frozenset()) | saw)),
        is_saw_complete=seen is not None,
        fingerprint_max_bytes=settings.fingerprint_max_bytes,
        keep=keep_of(settings) if is_automatic else None,
        is_automatic=is_automatic,
    )
    return BackupOrder(base_dir=layout.base, to=to, task=task)


def files_seen(ledger: Path) -> frozenset[str] | None:
    """Return the SHA-256 of all files that the model was trained on; None if the ledger cannot be read."""
    try:
        return frozenset(file.sha256 for file in read_trained_files(ledger, after=0, until=LAST_STEP))
    except UnreadableLedger:
        return None


def back_up_before(
    what: Occasion,
    layout: Layout,
    settings: BackupSettings,
    *,
    versions: tuple[str, ...] = (),
    saw: frozenset[str] = frozenset(),
    on_progress: Callable[[str], object] = lambda words: None,
) -> BackupMade | None:
    """Make a backup before something is done that removes or replaces files, and wait for it.

    Args:
        versions, saw: as for `creation`; such as the version that is to be deleted.
    Returns:
        None where no destination is set, or the settings want none before this.
    Raises:
        OrderRefused: it cannot be made; what was to be done must not be done then.
        NoAnswer: the process that makes it has died.
    """
    if settings.to is None or what not in settings.before or not has_checkpoint(layout):
        return None
    order = creation(layout, settings, settings.to, why=BEFORE[what], versions=versions, saw=saw)
    return one_shot.ask(MODULE, order, BackupMade, on_progress=on_progress)


def has_checkpoint(layout: Layout) -> bool:
    """Whether there is anything to back up yet."""
    return any((layout.models / FOLDER).glob(f"step-*/{MANIFEST_NAME}"))
