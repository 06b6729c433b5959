"""What somebody asks of the model, and how a refusal begins. Light, for a daemon that nobody asks."""

from dataclasses import dataclass

NOT_FORGOTTEN = "the model did not forget"
NOT_MERGED = "the adapter was not merged"
NOT_GONE_BACK = "the model did not go back"


@dataclass(frozen=True, kw_only=True)
class ForgetWish:
    """A file is to be forgotten."""

    name: str
    """Of the file, the id of its job, or its SHA-256."""
    keep_versions: bool
    reason: str
