"""Have the backups forget a file, too. What cannot be reached is named, and stops nothing."""

from collections.abc import Callable
from pathlib import Path

from trainer.protocol import one_shot
from trainer.protocol.backups import MODULE, BackupOrder, ForgetTask, ForgottenInBackups
from trainer.protocol.masking import shown_address
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import printable

ELSEWHERE = "copies outside of this folder, such as backups, exports, deployments and other machines"
LIMIT_S = 2 * 3600.0  # an hour of it may pass until a backup is made that has just begun


def forget_in_backups(
    base_dir: Path, to: str | None, sha256: str, *, tell: Callable[[str], None]
) -> tuple[ForgottenInBackups | None, list[str]]:
    """Remove the backups whose weights saw a file, and the file from all others.

    Args:
        to: where they are; may hold a password. None if there are none.
        tell: called with what is being done, for people.
    Returns:
        What was removed, None if nothing could be; and what could not be reached, and why.
    """
    if to is None:
        return None, [ELSEWHERE]
    shown = shown_address(to, base_dir)
    tell(f"erasing it from the backups in {shown}")
    order = BackupOrder(base_dir=base_dir, to=to, task=ForgetTask(sha256=(sha256,)))
    try:
        done = one_shot.ask(MODULE, order, ForgottenInBackups, timeout_s=LIMIT_S, on_progress=tell)
    except (OrderRefused, NoAnswer, OSError) as error:
        why = f"the backups in {shown}: {printable(str(error), limit=300)}; forget the file again then"
        return None, [why, _others(shown)]
    unreached = [f"the backups in {shown}: {note}" for note in done.notes]
    if done.unsure:
        unreached.append(
            f"the backups {', '.join(done.unsure)} in {shown}, which do not say all that their weights saw"
        )
    return done, [*unreached, _others(shown)]


def _others(shown: str) -> str:
    return f"copies outside of this folder and of {shown}, such as exports, deployments and other machines"
