"""The versions of one models folder: make, list, find, delete, bring back. Changes no checkpoint.

models/versions/vNNN/            published by one rename, then never changed; `from_pretrained` loads it
models/versions/vNNN/state.*     the optimizer's state, as long as it is kept
models/versions/.records/        records of versions that are deleted for good: lineage needs them
models/versions/.trash/vNNN/     deleted, and can be brought back
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from trainer.protocol.branch_path import is_on, path_of
from trainer.protocol.checkpoints import verify
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import file_sha256, link_or_copy, sync_directory
from trainer.protocol.manifest import MANIFEST_NAME, Manifest
from trainer.protocol.text import utc_text
from trainer.versions.listing import Listing, read_listing
from trainer.versions.marks import Mark, MarkJournal, MarkKind, Marks, marks_after, require_name, require_note
from trainer.versions.record import (
    RECORD_NAME,
    DamagedVersion,
    Maker,
    SuiteScore,
    TrainedFile,
    VersionRecord,
    read_record,
    write_record,
)
from trainer.versions.removal import REMOVING, bytes_of_its_own, remove_for_good, state_files, unused
from trainer.versions.version import UnreadableVersion, Version, VersionInUse, refuse_meant

FOLDER = "versions"
TRASH = ".trash"
RECORDS = ".records"
STAGING = ".staging"
LOCK = ".lock"
PINNED = "pinned"
"""The tag of a version whose optimizer state is kept, whatever room it takes."""
ID = re.compile(r"v(\d{3,})")
NAMED = 10  # of the newest versions, where a name means none


class NoSuchVersion(ValueError):
    """No version is meant by a name."""


class Versions:
    """The registry of one models folder. Any process may write it: a lock lets one at a time.

    Args:
        models: the folder; must exist.
        clock: Unix seconds.
    """

    def __init__(self, models: Path, *, clock: Callable[[], float]) -> None:
        self._folder = models / FOLDER
        self._clock = clock
        self._journal = MarkJournal(self._folder)

    # ---- read

    def all(self) -> list[Version]:
        """Return all versions that are not deleted, oldest first; damaged ones are left out.

        `damaged` has those.
        """
        marks = self.marks()
        return [self._with_marks(path, record, marks) for path, record in self._records()]

    def newest(self, limit: int) -> list[VersionRecord]:
        """Return the records of the newest versions, newest first; of these, damaged ones are left out."""
        found = []
        for path in self._paths()[: -limit - 1 : -1]:
            with suppress(DamagedVersion):
                found.append(read_record(path / RECORD_NAME))
        return found

    def listing(self) -> Listing:
        """Return what a list shows of all versions that are not deleted, oldest first."""
        return read_listing(self._folder, self._paths())

    def damaged(self) -> dict[str, DamagedVersion]:
        """Return the versions whose records cannot be trusted, with what is wrong."""
        found = {}
        for path in self._paths():
            try:
                read_record(path / RECORD_NAME)
            except DamagedVersion as error:
                found[path.name] = error
        return found

    def marks(self, *, until: str | None = None) -> Marks:
        """Return notes, tags and aliases as they are now, or were at a time (UTC, ISO 8601)."""
        return marks_after(self._journal.read(until=until))

    def find(self, name: str) -> Version:
        """Return the version that a person means.

        Args:
            name: its id, an alias, or `latest`.
        Raises:
            NoSuchVersion: there is none.
            DamagedVersion: its record cannot be trusted.
        """
        marks = self.marks()
        paths = self._paths()
        wanted = paths[-1].name if name == "latest" and paths else marks.aliases.get(name, name)
        if wanted not in (path.name for path in paths):
            raise NoSuchVersion(self._why_not_there(name, wanted, paths, marks))
        path = self._folder / wanted
        return self._with_marks(path, read_record(path / RECORD_NAME), marks)

    def locate(self, name: str) -> Version | UnreadableVersion:
        """Do the same for whoever deletes it: also where its record cannot be trusted.

        Raises:
            NoSuchVersion: there is none.
        """
        try:
            return self.find(name)
        except DamagedVersion as error:
            paths, marks = self._paths(), self.marks()
            wanted = paths[-1].name if name == "latest" else marks.aliases.get(name, name)
            aliases = tuple(marks.aliases_of(wanted))
            return UnreadableVersion(wanted, self._folder / wanted, aliases, str(error))

    def _why_not_there(self, name: str, wanted: str, paths: list[Path], marks: Marks) -> str:
        meaning = "" if wanted == name else f"{name} means {wanted}, but "
        if ID.fullmatch(wanted) and (self._folder / TRASH / wanted).is_dir():
            return f"{meaning}{wanted} is deleted; to bring it back: training_models undelete {wanted}"
        if ID.fullmatch(wanted) and (self._folder / RECORDS / f"{wanted}.json").is_file():
            return f"{meaning}{wanted} is deleted for good; choose another: training_models list"
        if meaning:
            return f"{meaning}that is gone; let it mean another: training_models alias {name} VERSION"
        if not paths:
            return (
                f"no version is named {name!a}; there are none; to make one of the newest checkpoint: "
                "training_models create"
            )
        named = [path.name for path in paths[-NAMED:]] + [
            alias for alias, meant in sorted(marks.aliases.items()) if self._folder / meant in paths
        ]
        more = "; training_models list shows all" if len(paths) > NAMED else ""
        return f"no version is named {name!a}; expected one of: {', '.join(named)}{more}"

    def record_of(self, version_id: str) -> VersionRecord | None:
        """Return the record of a version, also of a deleted one; None if there never was one."""
        for folder in (self._folder, self._folder / TRASH):
            if (file := folder / version_id / RECORD_NAME).is_file():
                return read_record(file)
        file = self._folder / RECORDS / f"{version_id}.json"
        return read_record(file) if file.is_file() else None

    def of_checkpoint(self, checkpoint: Path) -> Version | None:
        """Return the version that was made of a checkpoint; None if there is none.

        A number of a checkpoint may come again, after the newest one turned out damaged; its hash does not.

        Raises:
            OSError: the checkpoint is gone.
        """
        digest = file_sha256(checkpoint / MANIFEST_NAME)
        for path, record in self._records():
            if record.checkpoint_sha256 == digest:
                return self._with_marks(path, record, self.marks())
        return None

    def parent_of(self, manifest: Manifest) -> VersionRecord | None:
        """Return the newest version whose steps are the first steps of a checkpoint."""
        path = path_of(manifest)
        earlier = [
            record
            for _, record in self._records()
            if record.sequence < manifest.sequence and is_on(path, record.branch, record.global_step)
        ]
        return max(earlier, key=lambda record: (record.global_step, record.sequence), default=None)

    # ---- make

    def create(
        self,
        checkpoint: Path,
        *,
        made_by: Maker,
        trained: Callable[[VersionRecord | None], tuple[TrainedFile, ...]],
        suites: tuple[SuiteScore, ...] = (),
        write_card: Callable[[Path, VersionRecord], None] | None = None,
        examine: Callable[[Path], Manifest] = verify,
    ) -> Version:
        """Make a version of a checkpoint; nothing is visible before everything is durable.

        A checkpoint that has a version keeps that, whoever else asked for one meanwhile.

        Args:
            trained: returns the files that were trained after the given version, which is the parent.
            write_card: writes what people read into the folder.
            examine: returns the manifest if the checkpoint is whole.
        Raises:
            DamagedCheckpoint: it is not what its manifest says.
            OSError: it cannot be written, or the checkpoint is gone.
        """
        with self.unchanging(), _held(checkpoint):
            manifest = examine(checkpoint)
            if same := self.of_checkpoint(checkpoint):
                return same
            parent, progress = self.parent_of(manifest), manifest.progress
            record = VersionRecord(
                id=self._next_id(),
                made_at=utc_text(self._clock()),
                made_by=made_by,
                checkpoint=checkpoint.name,
                checkpoint_sha256=file_sha256(checkpoint / MANIFEST_NAME),
                sequence=manifest.sequence,
                branch=manifest.branch,
                global_step=progress.global_step,
                tokens_seen=progress.tokens_seen,
                parent=parent.id if parent else None,
                trained=trained(parent),
                validation_loss=progress.loss_of_these_weights,
                validation_weights=progress.validation_weights if progress.is_validated else None,
                suites=suites,
                base_model=manifest.base_model,
                own_base=manifest.own_base,
                method=manifest.method,
                settings=manifest.settings,
                settings_sha256=manifest.settings_sha256,
                libraries=manifest.versions,
                files=manifest.files,
            )
            staging = self._folder / STAGING
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(mode=0o700)
            for name in (*manifest.files, MANIFEST_NAME):
                _link(checkpoint / name, staging / name)
            if write_card:
                write_card(staging, record)
            write_record(staging, record)
            failpoint("version.staged")
            path = self._folder / record.id
            os.rename(staging, path)
            failpoint("version.renamed")
            sync_directory(self._folder)
        return self._with_marks(path, record, self.marks())

    # ---- what is said about one

    def note(self, version: Version, text: str) -> None:
        """Add a note.

        Raises:
            BadMark: it cannot be taken.
        """
        require_note(text)
        self._mark("note", version.id, text)

    def tag(self, version: Version, name: str, *, is_set: bool = True) -> None:
        """Give a tag to a version, or take it away.

        Raises:
            BadMark: the name cannot be taken.
            NoSuchVersion: it was deleted meanwhile.
        """
        require_name(name, "the tag")
        with self.unchanging():  # somebody may be about to delete it, or its optimizer's state
            self._require(version)
            self._mark("tag" if is_set else "untag", version.id, name)

    def alias(self, name: str, version: Version) -> str | None:
        """Let a name mean a version; return the one that it meant before.

        Raises:
            BadMark: the name cannot be taken.
            NoSuchVersion: it was deleted meanwhile.
        """
        require_name(name, "the alias")
        with self.unchanging():  # as for a tag
            self._require(version)
            before = self.marks().aliases.get(name)
            self._mark("alias", version.id, name)
        return before

    def unalias(self, name: str) -> str:
        """Let a name mean nothing; return the version that it meant.

        Raises:
            NoSuchVersion: it means none.
        """
        before = self.marks().aliases.get(name)
        if before is None:
            known = ", ".join(sorted(self.marks().aliases)) or "none"
            raise NoSuchVersion(f"no alias is named {name!a}; there are: {known}")
        self._mark("unalias", before, name)
        return before

    # ---- delete

    def delete(self, version: Version | UnreadableVersion) -> Path:
        """Move a version to the trash; return its place there.

        Raises:
            NoSuchVersion: it was deleted meanwhile.
            VersionInUse: an alias means it, or a program holds it.
        """
        with self.unchanging():
            self._require(version)
            refuse_meant(replace(version, aliases=tuple(self.marks().aliases_of(version.id))))
            trash = self._folder / TRASH
            trash.mkdir(mode=0o700, exist_ok=True)
            with unused(version.path, by_name=(RECORD_NAME,)) as is_unused:
                if not is_unused:
                    raise VersionInUse(f"{version.id} is used by another program; stop it and try again")
                os.rename(version.path, trash / version.id)
            failpoint("version.trashed")
            sync_directory(trash)
            sync_directory(self._folder)
        self._mark("deleted", version.id)
        return trash / version.id

    def deleted(self) -> list[VersionRecord]:
        """Return the records of the versions in the trash, oldest first; damaged ones are left out."""
        found = []
        for path in _versions_in(self._folder / TRASH):
            with suppress(DamagedVersion):
                found.append(read_record(path / RECORD_NAME))
        return found

    def undelete(self, version_id: str) -> Version | UnreadableVersion:
        """Take a version out of the trash.

        Raises:
            NoSuchVersion: it is not there.
        """
        with self.unchanging():
            source = self._folder / TRASH / version_id
            if not ID.fullmatch(version_id) or not source.is_dir():
                known = ", ".join(path.name for path in _versions_in(source.parent)) or "nothing"
                raise NoSuchVersion(f"{version_id!a} is not in the trash; there is: {known}")
            os.rename(source, self._folder / version_id)
            sync_directory(self._folder)
        self._mark("undeleted", version_id)
        return self.locate(version_id)

    def free(self, version_id: str) -> int:
        """Remove a version from the trash for good; return the bytes that nothing else links.

        Its record stays, for the lineage of those that came after it.

        Raises:
            NoSuchVersion: it is not there.
            VersionInUse: a program holds it.
        """
        with self.unchanging():
            source = self._folder / TRASH / version_id
            if not ID.fullmatch(version_id) or not source.is_dir():
                raise NoSuchVersion(f"{version_id!a} is not in the trash")
            records = self._folder / RECORDS
            records.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._folder)
            kept = records / f"{version_id}.json"
            if not kept.exists():
                _link(source / RECORD_NAME, kept)
                sync_directory(records)
            failpoint("version.record_kept")
            with unused(source) as is_unused:
                if not is_unused:
                    raise VersionInUse(f"{version_id} is used by another program; stop it and try again")
                freed = remove_for_good(self._folder, [source])
        self._mark("freed", version_id)
        return freed

    def free_state(self, version_id: str) -> int:
        """Remove the optimizer's state of a version; return the bytes that nothing else links.

        The model still loads. Training can no longer continue exactly from it, which cannot be undone.

        Raises:
            NoSuchVersion: there is none.
            DamagedVersion: its record cannot be trusted.
            VersionInUse: an alias means it, it has the tag `pinned`, or a program holds it.
        """
        with self.unchanging():
            version = self.find(version_id)
            refuse_meant(version)
            if PINNED in version.tags:
                raise VersionInUse(f"{version.id} has the tag {PINNED}; remove the tag first")
            with unused(version.path) as is_unused:
                if not is_unused:
                    raise VersionInUse(f"{version.id} is used by another program; stop it and try again")
                freed = remove_for_good(self._folder, state_files(version.path))
        self._mark("state_freed", version.id)
        return freed

    def remove_leftovers(self) -> int:
        """Remove what was on its way out when somebody was killed; return the bytes that are free now."""
        with self.unchanging():
            freed = bytes_of_its_own(self._folder / REMOVING)
            shutil.rmtree(self._folder / REMOVING)
        return freed

    def deleted_at(self) -> dict[str, str]:
        """Return when each version in the trash came there, as far as the journal has it (UTC, ISO 8601)."""
        marks = self._journal.read()
        return {mark.version: mark.at for mark in marks if mark.kind == "deleted"}

    # ---- inside

    def _mark(self, kind: MarkKind, version_id: str, text: str = "") -> None:
        self._journal.append(Mark(at=utc_text(self._clock()), kind=kind, version=version_id, text=text))

    def _paths(self) -> list[Path]:
        return _versions_in(self._folder)

    def _records(self) -> Iterator[tuple[Path, VersionRecord]]:
        for path in self._paths():
            try:
                yield path, read_record(path / RECORD_NAME)
            except DamagedVersion:
                continue

    def _with_marks(self, path: Path, record: VersionRecord, marks: Marks) -> Version:
        return Version(
            record,
            path,
            aliases=tuple(marks.aliases_of(record.id)),
            tags=tuple(sorted(marks.tags.get(record.id, ()))),
            notes=tuple(marks.notes.get(record.id, ())),
        )

    def _next_id(self) -> str:
        kept = [path.stem for path in (self._folder / RECORDS).glob("v*.json")]
        folders = [path.name for path in (*self._paths(), *_versions_in(self._folder / TRASH))]
        # Also one whose folder somebody has removed by hand: its alias must not mean the next one
        marked = {mark.version for mark in self._journal.read()}
        numbers = [int(found[1]) for name in (*kept, *folders, *marked) if (found := ID.fullmatch(name))]
        return f"v{max(numbers, default=0) + 1:03d}"

    def _require(self, version: Version | UnreadableVersion) -> None:
        """Make sure that a version is still there.

        Raises:
            NoSuchVersion: it was deleted meanwhile.
        """
        if not version.path.is_dir():
            raise NoSuchVersion(
                f"{version.id} was deleted meanwhile; bring it back: training_models undelete {version.id}"
            )

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Keep everybody else from making, deleting or naming a version until the block ends.

        Raises:
            UnusableJournal: the journal is no file, so nothing is done that it could not say.
        """
        self._journal.require()
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._folder.parent)
        with (self._folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _versions_in(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("v*") if ID.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name[1:]))


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    link_or_copy(source, target)
    sync_directory(target.parent)


@contextmanager
def _held(checkpoint: Path) -> Iterator[None]:
    """Keep retention from removing a checkpoint until the block ends."""
    with (checkpoint / MANIFEST_NAME).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
