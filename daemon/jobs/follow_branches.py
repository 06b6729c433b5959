"""Have the ledger and the queue follow a model that went back. Light, for a daemon whose model does not."""

from collections.abc import Collection, Sequence
from pathlib import Path

from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from trainer.protocol.job import JobRecord
from trainer.protocol.manifest import Branch


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
        from daemon.jobs.going_back import Follower

        follower = Follower(self._models, self._queue, self._ledger, self._journal)
        follower.follow(branches, cursors=cursors, finished=finished)
