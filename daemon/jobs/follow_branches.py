"""Have the ledger and the queue follow a model that went back. Light, for a daemon whose model does not."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from trainer.protocol.job import JobRecord
from trainer.protocol.layout import BRANCHES
from trainer.protocol.manifest import Branch

if TYPE_CHECKING:
    from daemon.jobs.going_back import Follower


class FollowBranches:
    """Looks whether there is a branch that they have not followed yet."""

    def __init__(self, models: Path, queue: JobQueue, ledger: Ledger, journal: Journal) -> None:
        self._models = models
        self._queue = queue
        self._ledger = ledger
        self._journal = journal

    def follow(
        self, branches: Sequence[Branch], *, cursors: Collection[str], finished: Sequence[JobRecord]
    ) -> None:
        """Carry out what the newest checkpoint says, unless that is done.

        Args:
            cursors: ids of jobs of which the checkpoint has the first steps.
            finished: the newest jobs that it has all of.
        """
        followed = self._ledger.branches.newest_followed()
        if all(branch.number <= followed for branch in branches):
            return
        self._follower().follow(branches, cursors=cursors, finished=finished)

    def follow_erased(self) -> None:
        """Note which files were erased that no branch tells of, because the model had never seen them."""
        if any((self._models / BRANCHES).glob("*.json")):
            self._follower().follow_erased()

    def _follower(self) -> "Follower":
        from daemon.jobs.going_back import Follower

        return Follower(self._models, self._queue, self._ledger, self._journal)
