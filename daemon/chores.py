"""What is looked after each turn beside training, and wakes the daemon when it is due."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from daemon.auto_versions import AutoVersions
from daemon.automatic_backups import AutomaticBackups
from daemon.disk import DiskKeeper
from daemon.followers import Followers
from daemon.progress_lines import ProgressLines
from trainer.config.schema import Settings


@dataclass(frozen=True, kw_only=True)
class Chores:
    """Training depends on none of them, but for the room on the disk."""

    disk: DiskKeeper
    """Looked after before the next act is decided, which may have to wait for it."""
    progress: ProgressLines
    followers: Followers
    versions: AutoVersions
    backups: AutomaticBackups

    def of_turn(self, settings: Settings) -> Iterator[Callable[[], None]]:
        """Yield what is done at the end of a turn; each may fail without the others."""
        yield self.progress.say_if_due
        yield partial(self.followers.look_after, settings)
        yield partial(self.versions.look_after, settings.versions)
        yield partial(self.backups.look_after, settings.backup)

    def due_at(self) -> float:
        """Return when the next of them is due, in monotonic seconds."""
        return min(
            part.due_at() for part in (self.disk, self.progress, self.followers, self.versions, self.backups)
        )
