"""The files at a destination: read them, list them, and write them so that none ever looks complete too soon.

objects/<2 hex>/<sha256>     the content of a file, by its hash
manifests/<id>.json          a backup; written last
pending/<what>-<origin>-<id>.json   somebody makes a backup, or removes what none needs
"""

import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO

from trainer.backups.address import Address, UnusableDestination, address_of, open_file_system, said_by
from trainer.protocol.failpoints import failpoint
from trainer.protocol.files import file_sha256, sync_directory
from trainer.protocol.text import printable

OBJECTS, MANIFESTS, PENDING = "objects", "manifests", "pending"
SHA256 = re.compile(r"[0-9a-f]{64}")
PARTIAL = ".part"
CHUNK_BYTES = 1 << 20
REQUESTS_AHEAD = 64
LARGEST_MANIFEST = 512 << 20


class Incomplete(UnusableDestination):
    """What was written is not what is there."""


class MissingObject(UnusableDestination):
    """An object is not there."""


class CannotWrite(UnusableDestination):
    """What was read cannot be written on this machine."""


@dataclass(frozen=True)
class Listed:
    """A file at a destination."""

    name: str
    """Relative to the destination."""
    bytes: int
    changed_at: float | None
    """Unix seconds; None where the file system does not say."""


def object_name(sha256: str) -> str:
    """Return where the object with a content is."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


class Destination:
    """Files below one folder, here or on a server.

    Args:
        file_system: of fsspec.
        root: the folder in it.
        writer: names what is half written, so that no two who send the same object write one file. It is the
            same each time for one working directory, which thus overwrites what it left when it was killed.
    """

    def __init__(self, address: Address, file_system: Any, root: str, *, writer: str) -> None:
        self.address = address
        self._files = file_system
        self._root = root
        self._writer = writer
        self._folders: set[str] = set()

    def __str__(self) -> str:
        return self.address.shown

    def shares_device(self, folder: Path) -> bool:
        """Whether it lies on the same device as a folder of this machine."""
        if not self.address.is_local:
            return False
        with suppress(OSError):
            return os.stat(_existing(Path(self._root))).st_dev == os.stat(_existing(folder)).st_dev
        return False

    def is_inside(self, folder: Path) -> bool:
        """Whether it lies below a folder of this machine, and would be lost with it."""
        return self.address.is_local and Path(self._root).resolve().is_relative_to(folder.resolve())

    def has_among_its_files(self, folder: Path) -> bool:
        """Whether a folder of this machine would be a part of what is stored there."""
        own = [Path(self._root, name).resolve() for name in (OBJECTS, MANIFESTS, PENDING)]
        return self.address.is_local and any(folder.resolve().is_relative_to(path) for path in own)

    # ---- read

    def files_in(self, folder: str) -> list[Listed]:
        """Return all files below a folder, but for those that are half written."""
        return [item for item in self._list(folder) if not item.name.endswith(PARTIAL)]

    def half_written(self, folder: str) -> list[Listed]:
        """Return what uploads that have not ended have left so far."""
        return [item for item in self._list(folder) if item.name.endswith(PARTIAL)]

    def _list(self, folder: str) -> list[Listed]:
        with self._reaching():
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
        root = PurePosixPath(self._root)
        return [
            Listed(
                str(PurePosixPath(path).relative_to(root)), int(facts.get("size") or 0), _changed_at(facts)
            )
            for path, facts in sorted(found.items())
        ]

    def objects(self) -> dict[str, int]:
        """Return the bytes of all objects, by their hashes."""
        found = {PurePosixPath(item.name).name: item.bytes for item in self.files_in(OBJECTS)}
        return {name: size for name, size in found.items() if SHA256.fullmatch(name)}

    def read(self, name: str) -> bytes:
        """Return the content of a small file.

        Raises:
            MissingObject: there is none.
        """
        with self._reading(name) as file:
            content = bytes(file.read(LARGEST_MANIFEST + 1))
        if len(content) > LARGEST_MANIFEST:
            raise UnusableDestination(f"{self}: {name} is larger than any manifest; remove it there")
        return content

    def sha256_of(self, name: str) -> str:
        """Return the SHA-256 of what is there now.

        Raises:
            MissingObject: nothing is there.
        """
        digest = hashlib.sha256()
        with self._reading(name) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def fetch(self, name: str, target: Path) -> str:
        """Write a copy to this machine, durably; return its SHA-256.

        Raises:
            MissingObject: nothing is there.
            CannotWrite: this machine has no room for it.
            FileExistsError: the target is there.
        """
        digest = hashlib.sha256()
        with target.open("xb") as writer, self._reading(name) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                try:
                    writer.write(chunk)
                except OSError as error:  # of this machine, and not of the destination
                    raise CannotWrite(f"{target}: {error.strerror}") from error
            writer.flush()
            os.fsync(writer.fileno())
        return digest.hexdigest()

    # ---- write

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (OBJECTS, MANIFESTS, PENDING):
            self._make_folder(folder)

    def put(self, source: Path, name: str) -> int:
        """Write a file; it appears when all of it is there. Returns its bytes.

        Raises:
            Incomplete: what is there has another size than the source, or another content.
        """
        self._make_folder(str(PurePosixPath(name).parent))
        size = source.stat().st_size
        try:
            with self._reaching():
                if self.address.is_local:
                    self._put_here(source, Path(self._path(name)))
                else:
                    self._put_there(source, name, size)
        except FileNotFoundError as error:  # such as a bucket
            source.stat()
            raise UnusableDestination(f"{self}: {said_by(error, self.address)}") from None
        return size

    def _put_there(self, source: Path, name: str, size: int) -> None:
        target = self._path(name)
        if self.address.takes_whole_uploads:
            self._files.put_file(str(source), target)
            self._require_size(target, size, name)
            return
        path = PurePosixPath(name)
        partial = self._path(str(path.with_name(self._partial_name(path))))
        self._files.put_file(str(source), partial)
        self._require_size(partial, size, name)
        try:
            self._files.mv(partial, target)
        except Exception:  # not every server renames onto a file; those that do never lack it
            if not self._files.exists(target) or not self._files.exists(partial):
                raise
            self._files.rm_file(target)
            self._files.mv(partial, target)

    def _put_here(self, source: Path, target: Path) -> None:
        partial = target.with_name(self._partial_name(target))
        with source.open("rb") as reader, partial.open("wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
        failpoint("backup.copied")
        if file_sha256(partial) != file_sha256(source):
            partial.unlink()
            raise Incomplete(f"{self}: {target.name} differs from what was written; is the disk in order?")
        os.replace(partial, target)
        failpoint("backup.object_renamed")
        sync_directory(target.parent)

    def put_bytes(self, content: bytes, name: str) -> None:
        """Write a small file; it appears when all of it is there."""
        with tempfile.NamedTemporaryFile() as paper:
            paper.write(content)
            paper.flush()
            self.put(Path(paper.name), name)

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone."""
        with self._reaching(), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    # ---- inside

    def _partial_name(self, target: PurePath) -> str:
        return f".{target.name}.{self._writer}{PARTIAL}"

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _make_folder(self, name: str) -> None:
        if name in self._folders:
            return
        try:
            with self._reaching():
                if self.address.is_local:
                    Path(self._path(name)).mkdir(mode=0o700, parents=True, exist_ok=True)
                elif not self.address.takes_whole_uploads:  # which know no folders
                    self._files.makedirs(self._path(name), exist_ok=True)
        except (FileNotFoundError, FileExistsError) as error:
            raise UnusableDestination(
                f"{self}: no folder {name} can be made there: {said_by(error, self.address)}"
            ) from None
        self._folders.add(name)

    def _require_size(self, path: str, size: int, name: str) -> None:
        self._files.invalidate_cache()
        found = self._files.info(path).get("size")
        if found != size:
            raise Incomplete(
                f"{self}: {name} has {found} bytes after it was sent; expected {size}; try again"
            )

    @contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        try:
            with self._reaching(), self._files.open(self._path(name), "rb") as file:
                if hasattr(file, "prefetch"):  # else SFTP waits for an answer every 32 KB
                    file.prefetch(max_concurrent_requests=REQUESTS_AHEAD)
                yield file
        except FileNotFoundError as error:
            raise MissingObject(f"{self}: {name} is missing") from error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say of errors of any library where they came from, and never with a password."""
        try:
            yield
        except (UnusableDestination, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            raise UnusableDestination(f"{self}: {said_by(error, self.address)}") from None


def open_destination(url: str, *, base_dir: Path) -> Destination:
    """Return the destination that an address means.

    Raises:
        UnusableDestination: it is none, or cannot be reached.
    """
    address = address_of(url, base_dir=base_dir)
    return Destination(address, *open_file_system(address), writer=short_name(origin_of(base_dir)))


def origin_of(base_dir: Path) -> str:
    """Return the name of a working directory among those that are backed up at one destination."""
    return printable(f"{socket.gethostname()}:{base_dir}")


def short_name(origin: str) -> str:
    """Return what stands for an origin in names of files."""
    return hashlib.sha256(os.fsencode(origin)).hexdigest()[:12]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _changed_at(facts: dict[str, Any]) -> float | None:
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        found = facts.get(key)
        if isinstance(found, int | float):
            return float(found)
        if isinstance(found, datetime):
            return found.timestamp()
    return None
