"""Which files the model was trained on between two steps of its life.

The tables of the model's life follow the newest checkpoint. If the model went back while no daemon ran, they
still show how it was before, until the next daemon starts.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from daemon.ledger.reader import UnreadableLedger, has_table, open_read_only
from daemon.ledger.stretches import table_of_stretches
from trainer.protocol.branch_path import Segment, beyond, path_of, path_to, shared_step
from trainer.protocol.manifest import Branch, Manifest
from trainer.protocol.text import printable

NOT_FOLLOWED = (
    "the model went back while no daemon ran, and the ledger follows when one starts; start one, and then "
    "try again: training_daemon start"
)

FILES = (
    "SELECT job_id, display AS name, sha256, rows, state,"
    " max(min(first_step), :after + 1) AS first_step, min(max(last_step), :until) AS last_step"
)


@dataclass(frozen=True, kw_only=True)
class TrainedStretches:
    """A file with the steps that it had between two others."""

    job_id: str
    name: str
    """Printable."""
    sha256: str
    first_step: int
    """In the model's life, counted from 1; steps of other files may lie between this and the next."""
    last_step: int
    rows: int
    """Rows of the whole file that can be trained."""
    state: str
    """Of the job: completed, failed, skipped, waiting or processing."""

    def is_meant_by(self, name: str) -> bool:
        """Whether a person who says this, a path perhaps, means the file, or its job."""
        return printable(name.rpartition("/")[2]) in (self.name, self.job_id)


def read_trained_files(path: Path, *, after: int, until: int) -> list[TrainedStretches]:
    """Return the files with steps after one and up to another, in the order of their first steps there.

    Args:
        after, until: global steps.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        rows = database.execute(
            f"{FILES} FROM {table_of_stretches(database)} JOIN jobs ON jobs.id = job_id"
            " WHERE last_step > :after AND first_step <= :until"
            " GROUP BY job_id ORDER BY min(first_step)",
            {"after": after, "until": until},
        )
        return [TrainedStretches(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class TrainedContent:
    """A file with steps in the present state of the model, and what it was trained with."""

    job_id: str
    name: str
    """Printable."""
    rows: int
    """That can be trained."""
    last_step: int
    settings: dict[str, Any]
    """Those that it started with, by section; empty where nobody knows."""
    was_trained_before: bool
    """Whether an earlier job with the same content has steps, too."""


def read_trained_contents(path: Path, *, limit: int) -> list[TrainedContent]:
    """Return the `limit` files that were trained last, in the order of their last steps.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        stretches = table_of_stretches(database)
        rows = database.execute(
            f"WITH trained AS (SELECT job_id, max(last_step) AS last_step FROM {stretches} GROUP BY job_id)"
            " SELECT job_id, display AS name, rows, last_step, settings,"
            " EXISTS (SELECT 1 FROM jobs AS other JOIN trained AS earlier ON earlier.job_id = other.id"
            " WHERE other.sha256 = jobs.sha256 AND other.id < jobs.id) AS was_trained_before"
            " FROM trained JOIN jobs ON jobs.id = job_id ORDER BY last_step DESC LIMIT ?",
            (limit,),
        )
        return [_content(row) for row in rows][::-1]


def _content(row: sqlite3.Row) -> TrainedContent:
    return TrainedContent(
        job_id=row["job_id"],
        name=row["name"],
        rows=row["rows"],
        last_step=row["last_step"],
        settings=json.loads(row["settings"] or "{}"),
        was_trained_before=bool(row["was_trained_before"]),
    )


def started_by(path: Path, step: int, job_ids: Iterable[str]) -> set[str]:
    """Return which jobs have steps up to a global step.

    Raises:
        UnreadableLedger: the ledger cannot be read.
    """
    if not path.exists():
        return set()
    with open_read_only(path) as database:
        query = f"SELECT 1 FROM {table_of_stretches(database)} WHERE job_id = ? AND first_step <= ? LIMIT 1"
        return {job_id for job_id in job_ids if database.execute(query, (job_id, step)).fetchone()}


def read_left_files(path: Path, segment: Segment) -> list[TrainedStretches]:
    """Return the files with steps in a part of a branch that the model has left, in the order of training.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return []
    with open_read_only(path) as database:
        if not has_table(database, "left_stretches"):
            return []
        rows = database.execute(
            f"{FILES} FROM left_stretches JOIN jobs ON jobs.id = job_id"
            " WHERE branch = :branch AND last_step > :after AND first_step <= :until"
            " GROUP BY job_id ORDER BY min(first_step)",
            {"branch": segment.branch, "after": segment.after, "until": segment.until},
        )
        return [TrainedStretches(**row) for row in rows]


def read_files_on(
    path: Path, way: Sequence[Segment], *, after: int, newest: Manifest
) -> list[TrainedStretches]:
    """Return the files with steps of a way through the branches, each once, in the order of first steps.

    Args:
        after: only steps of the way after this one.
        newest: of the newest checkpoint, whether or not the ledger follows it yet.
    Raises:
        UnreadableLedger: it cannot be read, or has to follow first.
    """
    unfollowed = unfollowed_branches(path, newest)
    recorded = _recorded_path(newest, unfollowed)
    shared = shared_step(way, recorded)
    found = read_trained_files(path, after=after, until=shared) if shared > after else []
    unknown = {branch.number for branch in unfollowed if branch.why == "forget"}  # it has steps of its own
    for segment in beyond(way, max(after, shared)):
        if segment.branch in unknown:
            raise UnreadableLedger(NOT_FOLLOWED)
        found += read_left_files(path, segment)
    return _each_once(found)


def unfollowed_branches(path: Path, newest: Manifest) -> list[Branch]:
    """Return the branches of the newest checkpoint that began while no daemon ran, oldest first.

    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not newest.branches or not path.exists():
        return []
    with open_read_only(path) as database:
        known = 0
        if has_table(database, "branches"):
            known = database.execute("SELECT coalesce(max(number), 0) FROM branches").fetchone()[0]
    return [branch for branch in newest.branches if branch.number > known]


def _recorded_path(newest: Manifest, unfollowed: Sequence[Branch]) -> list[Segment]:
    """Return what led to the state that the tables of the model's life show."""
    if not unfollowed:
        return path_of(newest)
    return path_to(unfollowed[0].number - 1, unfollowed[0].left_step, newest.branches)


def _each_once(files: Sequence[TrainedStretches]) -> list[TrainedStretches]:
    by_job: dict[str, TrainedStretches] = {}
    for file in files:
        known = by_job.get(file.job_id)
        by_job[file.job_id] = replace(known, last_step=file.last_step) if known else file
    return list(by_job.values())


def first_step_of(path: Path, name: str) -> int | None:
    """Return the first step of a file in the model's life; None if the model was not trained on it.

    Args:
        name: as it is shown, or the id of its job; of several files with a name, the newest counts.
    Raises:
        UnreadableLedger: it cannot be read.
    """
    if not path.exists():
        return None
    with open_read_only(path) as database:
        row = database.execute(
            f"SELECT min(first_step) AS first FROM {table_of_stretches(database)}"
            " JOIN jobs ON jobs.id = job_id WHERE ? IN (display, jobs.id)"
            " GROUP BY job_id ORDER BY job_id DESC LIMIT 1",
            (printable(name),),
        ).fetchone()
        return int(row["first"]) if row else None
