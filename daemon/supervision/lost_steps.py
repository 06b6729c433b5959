"""Forget the steps that were lost with a worker, as soon as it is dead; the next one takes them again.

Never decides what the next worker loads, nor what becomes of files that were completed: where that is not
plain, nothing is forgotten before that worker says it.
"""

from pathlib import Path

from daemon.checkpoints.review import BlockedRestart, corrupt_names, review_sizes, starting_point
from daemon.ledger.ledger import Ledger
from daemon.status.board import StatusBoard
from daemon.status.last_known import last_known


def forget_lost_steps(models: Path, ledger: Ledger, board: StatusBoard) -> int:
    """Have ledger and status say what the newest checkpoint says; return how many steps were lost.

    Raises:
        OSError, sqlite3.Error: disk or ledger failed; call again.
    """
    taken = ledger.newest_step()
    start = starting_point(review_sizes(models), has_corrupt=bool(corrupt_names(models))) if taken else None
    if not taken or isinstance(start, BlockedRestart):
        return 0
    if start is None and ledger.has_saved():
        return 0  # what was saved is missing, perhaps only for the moment
    branches = start.manifest.branches if start else ()
    saved = start.manifest.progress.global_step if start else 0
    followed = ledger.branches.newest_followed()
    is_plain = all(branch.number <= followed for branch in branches) and not ledger.completed_after(saved)
    if saved >= taken or not is_plain:
        return 0
    ledger.rewind(saved)
    known = last_known(models) or {"current_step": 0, "tokens_seen": 0, "samples_seen": 0}
    board.steps_lost(known, ledger.measured_at(saved))
    return taken - saved
