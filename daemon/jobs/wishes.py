"""What somebody asks of the model, and how a refusal begins. Light, for a daemon that nobody asks."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.ledger.trained_files import TrainedStretches

NOT_FORGOTTEN = "the model did not forget"
NOT_MERGED = "the adapter was not merged"


@dataclass(frozen=True, kw_only=True)
class ForgetWish:
    """A file is to be forgotten."""

    name: str
    """Of the file, the id of its job, or its SHA-256."""
    keep_versions: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Requeue:
    """Which files that the model loses are trained again when it goes back."""

    is_wanted: bool = False
    without: Collection[str] = ()
    """Names or job ids of those that are not."""

    def wants(self, file: "TrainedStretches") -> bool:
        """Whether a file is trained again."""
        return self.is_wanted and not {file.name, file.job_id} & set(self.without)
