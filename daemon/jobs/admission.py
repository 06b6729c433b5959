"""Contents to train whatever their report says: one empty file each, named by SHA-256.

Written by `training_queue` before it puts a file back, and removed by it; read when a file is given to the
worker. So it holds across restarts, for a lost ledger, and for a file that has to be trained again from an
older checkpoint.
"""

from contextlib import suppress
from pathlib import Path

from trainer.protocol.files import file_sha256, sync_directory
from trainer.protocol.layout import PRIVATE_MODE, Layout

KEPT = 1_000  # contents; the newest


def admit(layout: Layout, file: Path) -> None:
    """Have the content of `file` trained, whatever it is called then.

    Raises:
        OSError: it cannot be read, or this cannot be noted.
    """
    layout.admitted.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    (layout.admitted / file_sha256(file)).touch(mode=0o600)
    sync_directory(layout.admitted)
    notes = sorted(layout.admitted.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for note in notes[:-KEPT]:
        note.unlink(missing_ok=True)


def unadmit(layout: Layout, sha256: str) -> None:
    """Have a content checked as any other from now on, if it is admitted.

    Raises:
        OSError: this cannot be noted.
    """
    with suppress(FileNotFoundError):
        (layout.admitted / sha256).unlink()
        sync_directory(layout.admitted)


def is_admitted(layout: Layout, sha256: str) -> bool:
    """Whether somebody has admitted this content."""
    return (layout.admitted / sha256).exists()
