"""The versions of the model: make them, find them, say things about them, and where they come from."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.checkpoints.find_checkpoint import NoSuchCheckpoint as Unknown
from daemon.checkpoints.find_checkpoint import find_checkpoint
from daemon.checkpoints.review import compare_sizes, current_name
from daemon.client.errors import (
    AmbiguousName,
    ClientError,
    NoSuchCheckpoint,
    NoSuchFile,
    NoSuchVersion,
    UnreadableHistory,
    raising,
)
from daemon.client.life import Life, life_of
from daemon.client.version_lines import (
    DeletedVersion,
    FileInVersions,
    SettingDifference,
    VersionDetails,
    VersionDifferences,
    VersionLine,
    VersionPage,
    details_of,
    line_of,
    page_of,
)
from daemon.jobs.version_content import newest_scores, trained_since
from daemon.ledger.reader import UnreadableLedger
from trainer.protocol import one_shot
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, read_manifest, verify
from trainer.protocol.checkpoints import NoUsableCheckpoint as OtherRelease
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import FileEntry, Manifest
from trainer.protocol.new_version import MODULE, NewVersion, NewVersionOrder
from trainer.protocol.one_shot import NoAnswer, OrderRefused
from trainer.protocol.text import printable, shell_word, utc_text
from trainer.versions.listing import digest_of
from trainer.versions.marks import COMPUTED, LOOKS_LIKE_VERSION, BadMark, require_note
from trainer.versions.record import DamagedVersion, Maker, TrainedFile, VersionRecord
from trainer.versions.registry import NoSuchVersion as UnknownVersion
from trainer.versions.registry import Versions
from trainer.versions.version import UnreadableVersion as UnreadableVersion  # for those who delete one
from trainer.versions.version import Version, VersionInUse, refuse_meant

ASKED_QUICKLY = 20  # versions
PAGE = 50
NOT_MADE = (BadMark, DamagedVersion, OtherRelease)


class NotATime(ClientError):
    """A text cannot be understood as a time."""


class UnusableVersion(ClientError):
    """A version cannot be read, made or deleted; the message says why."""


class Models:
    """The versions of one working directory, beside a worker that publishes checkpoints or without one.

    Args:
        back_up: called before a version is deleted, with the ids of those that the backup must have whole;
            what it raises keeps the version.
        clock: Unix seconds.
    """

    def __init__(
        self,
        layout: Layout,
        back_up: Callable[[Sequence[str]], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._layout = layout
        self._back_up = back_up
        self._versions = Versions(layout.models, clock=clock)
        self._ancestor_records: dict[str, VersionRecord] = {}  # by version; a record never changes

    # ---- read

    def versions(self) -> tuple[VersionLine, ...]:
        """Return all versions, oldest first."""
        files, marks = self._current_files(), self._versions.marks()
        current = None if files is None else digest_of(files)
        aliases = marks.names_by_version()
        return tuple(
            line_of(summary, path, current, aliases.get(summary.id, ()), marks)
            for path, summary in self._versions.listing().summaries.items()
        )

    def page(self, *, after: str | None = None, limit: int = PAGE, search: str = "") -> VersionPage:
        """Return a page of versions, the newest first.

        Args:
            after: the last version of the page before; None for the first page.
            search: words that are all in its id, names, notes, or who made it.
        """
        damaged = self.damaged() if after is None else {}
        return page_of(self.versions(), after=after, limit=limit, search=search, damaged=damaged)

    def details(self, name: str) -> VersionDetails:
        """Return everything about the version that `find` finds, as values."""
        return details_of(self.find(name))

    def damaged(self) -> dict[str, str]:
        """Return the versions that cannot be trusted, with what is wrong."""
        return {name: str(error) for name, error in self._versions.listing().damaged.items()}

    def deleted(self) -> tuple[DeletedVersion, ...]:
        """Return the versions in the trash, oldest first; those whose records are damaged are left out."""
        times = self._versions.deleted_at()
        return tuple(
            DeletedVersion(
                id=record.id,
                made_at=record.made_at,
                global_step=record.global_step,
                deleted_at=times.get(record.id),
            )
            for record in self._versions.deleted()
        )

    def find(self, name: str) -> Version:
        """Return the version with this id or alias, or `latest`, or `current`: that of the newest checkpoint.

        Raises:
            NoSuchVersion: there is none.
            UnusableVersion: its record is damaged.
        """
        if name == "current":
            return self._current()
        with raising(NoSuchVersion, UnknownVersion), raising(UnusableVersion, DamagedVersion):
            return self._versions.find(name)

    def locate(self, name: str) -> Version | UnreadableVersion:
        """Do the same for whoever deletes it: also where its record is damaged.

        Raises:
            NoSuchVersion: there is none.
        """
        if name == "current":
            return self._current()
        with raising(NoSuchVersion, UnknownVersion):
            return self._versions.locate(name)

    def current_id(self) -> str | None:
        """Return the id of the version with the weights of the newest checkpoint, quickly.

        Only the newest versions are asked; None if it is none of them.
        """
        current = self._current_files()
        newest = self._versions.newest(ASKED_QUICKLY) if current else []
        return next((record.id for record in newest if record.files == current), None)

    def meaning_of(self, name: str) -> str:
        """Return the id of the version that an alias means.

        Raises:
            NoSuchVersion: it means none.
            UnusableVersion: the record of the version is damaged.
        """
        if names_no_file(name) or name in self._versions.marks().aliases:
            return self.find(name).id
        known = ", ".join(sorted(self._versions.marks().aliases)) or "none"
        raise NoSuchVersion(
            f"no alias is named {name!a}; there are: {known}; to let it mean a version: "
            f"training_models alias {shell_word(name)} VERSION"
        )

    def alias_at(self, name: str, at: str) -> str | None:
        """Return the id of the version that an alias meant at a time; None if none.

        Args:
            at: ISO 8601; UTC unless it says otherwise.
        Raises:
            NotATime: it is none.
            NoSuchVersion: it is no name that anyone gives.
        """
        if name in COMPUTED:
            raise NoSuchVersion(
                f"{name} is no alias: nobody sets it, so what it meant then is not known; expected a name of "
                "your own, such as deployed"
            )
        try:
            moment = datetime.fromisoformat(at)
            until = utc_text((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except ValueError as error:  # also where only UTC has no year for it
            raise NotATime(f"{at!a} is no time; expected a time such as 2026-11-20T14:03:00Z") from error
        return self._versions.marks(until=until).aliases.get(name)

    def lineage(self, version: Version) -> list[TrainedFile]:
        """Return every file that the weights were trained on, in the order of first steps.

        Raises:
            UnusableVersion: a record on the way is damaged.
        """
        found = [file for record in self._ancestors(version.record) for file in record.trained]
        return _joined(found)

    def versions_with(self, name: str) -> FileInVersions:
        """Return the versions whose weights were trained on a file.

        Args:
            name: of the file, or the start of its SHA-256 (at least 8 characters).
        Raises:
            NoSuchFile: no version was trained on it.
            AmbiguousName: several contents had that name.
        """
        wanted = name.rpartition("/")[2]
        names: dict[str, str] = {}  # by SHA-256, like the next one
        holders: dict[str, dict[str, None]] = {}
        for version in self._versions.all():
            for file in self.lineage(version):
                if file.name == printable(wanted) or (len(wanted) >= 8 and file.sha256.startswith(wanted)):
                    names[file.sha256] = file.name
                    holders.setdefault(file.sha256, {})[version.id] = None
        if not holders:
            raise NoSuchFile(
                f"no version was trained on {printable(name)}; expected the name of a file, or the start of "
                "its SHA-256, as training_models lineage VERSION lists them"
            )
        if len(holders) > 1:
            places = "; ".join(f"{sha256[:12]} is in {', '.join(ids)}" for sha256, ids in holders.items())
            raise AmbiguousName(
                f"{printable(name)} means {len(holders)} different contents; say which by its SHA-256: "
                f"{places}"
            )
        [(sha256, versions)] = holders.items()
        return FileInVersions(name=names[sha256], sha256=sha256, versions=tuple(versions))

    def differing_settings(self, before: Version, after: Version) -> list[SettingDifference]:
        """Return the settings that differ between two versions, by name."""
        old, new = dict(_flat(before.record.settings)), dict(_flat(after.record.settings))
        return [
            SettingDifference(setting=name, before=old.get(name), after=new.get(name))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]

    def files_between(self, before: Version, after: Version) -> list[TrainedFile]:
        """Return the files that one version was trained on and the other was not, or on other steps."""
        old = {(file.job_id, file.first_step, file.last_step) for file in self.lineage(before)}
        return [
            file for file in self.lineage(after) if (file.job_id, file.first_step, file.last_step) not in old
        ]

    def life(self, *, most_versions: int) -> Life:
        """Return what the model did, where it went back, and its newest `most_versions` versions."""
        return life_of(self._layout, self.versions(), most_versions=most_versions)

    def differences(self, before: Version, after: Version) -> VersionDifferences:
        """Return how two versions differ, as their records say it."""
        return VersionDifferences(
            before=before.id,
            after=after.id,
            settings=tuple(self.differing_settings(before, after)),
            files_added=tuple(self.files_between(before, after)),
            files_missing=tuple(self.files_between(after, before)),
        )

    # ---- change

    def create(
        self, checkpoint: str = "current", *, note: str | None = None, made_by: Maker = "hand"
    ) -> tuple[Version, bool]:
        """Make a version of a checkpoint; one that has a version already keeps that.

        Args:
            checkpoint: name of its folder, or `current`.
            made_by: by hand, every file is compared with its hash; by policy, with its size.
        Returns:
            The version, and whether it is new.
        Raises:
            NoSuchCheckpoint: there is none.
            UnusableVersion: it is damaged, or the note cannot be taken.
        """
        if note is not None:  # before a version is made that would lack it
            with raising(UnusableVersion, BadMark):
                require_note(note)
        with raising(NoSuchCheckpoint, Unknown):
            path = find_checkpoint(self._layout.models, checkpoint)
        try:
            with raising(UnusableVersion, *NOT_MADE), raising(UnreadableHistory, UnreadableLedger):
                return self._create(path, note, made_by)
        except FileNotFoundError as error:
            if path.is_dir():
                raise  # something else is missing
            raise UnusableVersion(
                f"{printable(path.name)} was removed while the version was made; choose another that is "
                "kept: training_health verify"
            ) from error
        except DamagedCheckpoint as error:
            raise UnusableVersion(
                f"{printable(path.name)}: {error}; choose another that is whole: training_health verify"
            ) from error

    def _create(self, path: Path, note: str | None, made_by: Maker) -> tuple[Version, bool]:
        from trainer.versions.model_card import write_card  # it loads the hub's library

        manifest = read_manifest(path)
        version = self._versions.of_checkpoint(path)
        is_new = version is None
        if version is None:
            step = manifest.progress.global_step
            version = self._versions.create(
                path,
                made_by=made_by,
                trained=lambda parent: self._trained_since(parent, manifest),
                suites=newest_scores(self._layout.ledger_file, until=step),
                write_card=write_card,
                examine=verify if made_by == "hand" else compare_sizes,
            )
        if note is not None:
            self._versions.note(version, note)
        return self._versions.find(version.id), is_new

    def create_apart(self, checkpoint: str = "current", *, note: str | None = None) -> NewVersion:
        """Do the same in a process of its own, for a program that must stay small.

        Raises:
            UnusableVersion: it cannot be made.
        """
        order = NewVersionOrder(base_dir=self._layout.base, checkpoint=checkpoint, policy="hand", note=note)
        try:
            return one_shot.ask(MODULE, order, NewVersion)
        except OrderRefused as error:
            raise UnusableVersion(str(error)) from error
        except NoAnswer as error:
            raise UnusableVersion(f"the process that makes the version {error}; try again") from error

    def note(self, version: Version, text: str) -> None:
        """Add a note.

        Raises:
            UnusableVersion: it cannot be taken.
        """
        with raising(UnusableVersion, BadMark):
            self._versions.note(version, text)

    def tag(self, version: Version, name: str, *, is_set: bool = True) -> None:
        """Give a tag to a version, or take it away.

        Raises:
            UnusableVersion: the name cannot be taken.
            NoSuchVersion: the version was deleted meanwhile.
        """
        with raising(UnusableVersion, BadMark), raising(NoSuchVersion, UnknownVersion):
            self._versions.tag(version, name, is_set=is_set)

    def alias(self, name: str, version: Version) -> str | None:
        """Let a name mean a version; return the id that it meant before.

        Raises:
            UnusableVersion: the name cannot be taken.
            NoSuchVersion: the version was deleted meanwhile.
        """
        with raising(UnusableVersion, BadMark), raising(NoSuchVersion, UnknownVersion):
            return self._versions.alias(name, version)

    def unalias(self, name: str) -> str:
        """Let a name mean nothing; return the id that it meant.

        Raises:
            NoSuchVersion: it means none.
        """
        with raising(NoSuchVersion, UnknownVersion):
            return self._versions.unalias(name)

    def require_deletable(self, version: Version | UnreadableVersion) -> None:
        """Make sure that a version can be deleted as things stand.

        Raises:
            UnusableVersion: an alias means it.
        """
        with raising(UnusableVersion, VersionInUse):
            refuse_meant(version)

    def delete(self, version: Version | UnreadableVersion) -> Path:
        """Move a version to the trash, after a backup of it (`backup.before`); return its place there.

        Nobody knows what is whole of one whose record is damaged, so the backup is made without its weights.

        Raises:
            UnusableVersion: an alias means it, or a program uses it.
            NoSuchVersion: it was deleted meanwhile.
            BackupRefused: no backup could be made, so it stays.
        """
        self.require_deletable(version)
        self._back_up([version.id] if isinstance(version, Version) else [])
        with raising(UnusableVersion, VersionInUse), raising(NoSuchVersion, UnknownVersion):
            return self._versions.delete(version)

    def undelete(self, version_id: str) -> Version | UnreadableVersion:
        """Take a version out of the trash.

        Raises:
            NoSuchVersion: it is not there.
        """
        with raising(NoSuchVersion, UnknownVersion):
            return self._versions.undelete(version_id)

    # ---- inside

    def _current_files(self) -> dict[str, FileEntry] | None:
        """Return the files of the newest checkpoint with their hashes; None if there is none."""
        name = current_name(self._layout.models)
        if name is None:
            return None
        try:
            return read_manifest(self._layout.models / "checkpoints" / name).files
        except (DamagedCheckpoint, OtherRelease):
            return None

    def _current(self) -> Version:
        if current_name(self._layout.models) is None:
            raise NoSuchVersion(
                "there is no checkpoint yet, so no version is current; the first is saved when something is "
                "trained"
            )
        if (current := self._current_files()) is None:
            raise NoSuchVersion(
                "the newest checkpoint cannot be read, so no version is current; see what is whole: "
                "training_health verify"
            )
        for version in reversed(self._versions.all()):
            if version.record.files == current:
                return version
        raise NoSuchVersion(
            "the newest checkpoint has no version; make one: training_models create, or name another version"
        )

    def _trained_since(self, parent: VersionRecord | None, manifest: Manifest) -> tuple[TrainedFile, ...]:
        newest = read_manifest((self._layout.models / POINTER).resolve())
        return trained_since(self._layout.ledger_file, parent, manifest, newest=newest)

    def _ancestors(self, record: VersionRecord) -> Iterator[VersionRecord]:
        """Yield a version and all before it, oldest first."""
        line: list[VersionRecord] = [record]
        while line[-1].parent and (parent := self._ancestor(line[-1].parent)):
            line.append(parent)
        yield from reversed(line)

    def _ancestor(self, version_id: str) -> VersionRecord | None:
        """Return the record of a version; None if it is gone without a trace."""
        if found := self._ancestor_records.get(version_id):
            return found
        with raising(UnusableVersion, DamagedVersion):
            found = self._versions.record_of(version_id)
        if found:
            self._ancestor_records[version_id] = found
        return found


def names_no_file(name: str) -> bool:
    """Whether a name can only mean a version: `v003`, `current` or `latest`."""
    return bool(LOOKS_LIKE_VERSION.fullmatch(name)) or name in COMPUTED


def without_weights(version: Version) -> str:
    """Return why nothing can be done with a version of which only the record is here."""
    return (
        f"the weights of {version.id} are not here: of a backup without them, only the record was restored; "
        "choose another version: training_models list"
    )


def _joined(files: list[TrainedFile]) -> list[TrainedFile]:
    """Return each file once: with its first and its last step, and how it ended."""
    by_job: dict[str, TrainedFile] = {}
    for file in files:
        if before := by_job.get(file.job_id):
            file = file.model_copy(update={"first_step": before.first_step})
        by_job[file.job_id] = file
    return sorted(by_job.values(), key=lambda file: file.first_step)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):  # an empty one has no entries, and so no line of its own
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
