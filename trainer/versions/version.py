"""A version as it is in the registry, and what keeps it from being deleted."""

from dataclasses import dataclass
from pathlib import Path

from trainer.versions.record import VersionRecord
from trainer.versions.removal import STATE_FILES


class VersionInUse(RuntimeError):
    """A version cannot be deleted."""


@dataclass(frozen=True)
class Version:
    """A version and what was said about it since it was made."""

    record: VersionRecord
    path: Path
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    notes: tuple[str, ...]
    """Oldest first."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def has_optimizer_state(self) -> bool:
        """Whether training can continue from it exactly."""
        return all((self.path / name).is_file() for name in self.record.files)

    @property
    def has_weights(self) -> bool:
        """Whether it can be loaded; of a backup that did not have it whole, only its record was restored."""
        return all((self.path / name).is_file() for name in self.record.files if name not in STATE_FILES)


@dataclass(frozen=True)
class UnreadableVersion:
    """A version whose record cannot be trusted: nothing can be done with it but to delete it."""

    id: str
    path: Path
    aliases: tuple[str, ...]
    problem: str
    """What is wrong with the record."""


def refuse_meant(version: Version | UnreadableVersion) -> None:
    """Make sure that no alias means a version.

    Raises:
        VersionInUse: one does.
    """
    if version.aliases:
        names, verb = " and ".join(version.aliases), "means" if len(version.aliases) == 1 else "mean"
        raise VersionInUse(
            f"{version.id} is what {names} {verb}; let that mean another version, or nothing, first: "
            f"training_models alias {version.aliases[0]} --remove"
        )
