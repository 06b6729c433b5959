"""What a list of versions shows of each, without reading every record again.

models/versions/.list.json     what the records say, by version; each holds while size and time are the same

Records are never changed, so what was read once is still so. Without that file, or with one that makes no
sense, every record is read; nothing depends on it but how long a list takes.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from trainer.protocol.files import UnreadableFile, open_regular, write_atomically
from trainer.protocol.manifest import FileEntry, WhichWeights, checksum
from trainer.versions.record import RECORD_NAME, DamagedVersion, SuiteScore, read_record

LIST_NAME = ".list.json"
READ_AGAIN = 20  # so many records are read each time, rather than the list written


class Summary(BaseModel):
    """What a list shows of a version's record."""

    model_config = ConfigDict(frozen=True)

    mark: tuple[int, int, int]
    """Size, time of change and inode of the record."""
    id: str
    made_at: str
    made_by: str
    global_step: int
    branch: int
    parent: str | None
    trained: int
    validation_loss: float | None
    validation_weights: WhichWeights | None
    files: tuple[str, ...]
    """Names of the model's files."""
    digest: str
    """Of these files, as `digest_of` returns it."""
    bytes: int
    """Of these files."""
    suites: tuple[SuiteScore, ...]


@dataclass(frozen=True)
class Listing:
    """All versions of a folder."""

    summaries: dict[Path, Summary]
    """By folder, in the order that was asked for."""
    damaged: dict[str, DamagedVersion]
    """By name: those whose records cannot be trusted."""


SUMMARIES = TypeAdapter(dict[str, Summary])


def read_listing(folder: Path, paths: Iterable[Path]) -> Listing:
    """Return what the records of some versions say.

    Args:
        folder: `models/versions`.
        paths: of the versions.
    """
    known = _read_known(folder)
    summaries: dict[Path, Summary] = {}
    damaged: dict[str, DamagedVersion] = {}
    num_read = 0
    for path in paths:
        summary = known.get(path.name)
        if summary is None or summary.mark != _mark_of(path):
            num_read += 1
            try:
                summary = _summary_of(path)
            except DamagedVersion as error:
                damaged[path.name] = error
                continue
        summaries[path] = summary
    if num_read > len(damaged) + READ_AGAIN:
        _write_known(folder, summaries)
    return Listing(summaries, damaged)


def has_all_files(path: Path, names: Iterable[str]) -> bool:
    """Whether the files of a version are there."""
    try:
        there = set(os.listdir(path))
    except OSError:
        return False
    return all(name in there if "/" not in name else (path / name).is_file() for name in names)


def digest_of(files: Mapping[str, FileEntry]) -> str:
    """Return the SHA-256 of a model's files: the same for those of a checkpoint and of its version."""
    return checksum({name: entry.model_dump(mode="json") for name, entry in files.items()})


def _summary_of(path: Path) -> Summary:
    mark = _mark_of(path)
    record = read_record(path / RECORD_NAME)
    return Summary(
        mark=mark or (0, 0, 0),
        id=record.id,
        made_at=record.made_at,
        made_by=record.made_by,
        global_step=record.global_step,
        branch=record.branch,
        parent=record.parent,
        trained=len(record.trained),
        validation_loss=record.validation_loss,
        validation_weights=record.validation_weights,
        files=tuple(record.files),
        digest=digest_of(record.files),
        bytes=sum(entry.bytes for entry in record.files.values()),
        suites=record.suites,
    )


def _mark_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(f"{path}/{RECORD_NAME}")
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _read_known(folder: Path) -> dict[str, Summary]:
    try:
        with open_regular(folder / LIST_NAME) as file:
            return SUMMARIES.validate_json(file.read())
    except (OSError, UnreadableFile, ValidationError):
        return {}


def _write_known(folder: Path, summaries: dict[Path, Summary]) -> None:
    content = SUMMARIES.dump_json({path.name: summary for path, summary in summaries.items()})
    with suppress(OSError):  # the disk may be full or write-protected; then a list takes longer
        write_atomically(folder / LIST_NAME, content, durable=False)
