"""What a working directory shows: files, ledger, newest checkpoint. Reads only; imports nothing of ours."""

import hashlib
import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]

OTHERWISE_EACH_TIME = {  # columns and keys that depend on when something was done
    *("seconds", "accepted_at", "started_at", "finished_at", "ended_at", "at", "id"),
}
INODE_BITS = (1 << 64) - 1  # SQLite's integers are signed
NOT_COMPARED_AS_BYTES = ("MANIFEST.json", "steps.json")  # they hold times


# ---- the ledger


def query(base: Path, sql: str) -> list[sqlite3.Row]:
    """Ask the ledger, whether or not a daemon has it open."""
    ledger = base / "status" / "ledger.sqlite3"
    # With no log beside it nobody writes; a reader that does not say so would leave a log of its own
    options = "mode=ro" if ledger.with_name(f"{ledger.name}-wal").exists() else "mode=ro&immutable=1"
    database = sqlite3.connect(f"{ledger.as_uri()}?{options}", uri=True)
    database.row_factory = sqlite3.Row
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


def table(base: Path, name: str, *, order: str) -> list[Record]:
    """Return a table without times, with names of files in place of their jobs' ids.

    Args:
        order: columns that it is sorted by, after that replacement.
    """
    names = {row["id"]: row["display"] for row in query(base, "SELECT id, display FROM jobs")}
    found = [_timeless(dict(row), names) for row in query(base, f"SELECT * FROM {name} ORDER BY 1")]
    return sorted(found, key=lambda record: [record[column] for column in order.split()])


def _timeless(value: Any, names: dict[str, str]) -> Any:
    match value:
        case dict():
            return {
                names.get(key, key): _timeless(item, names)
                for key, item in value.items()
                if key not in OTHERWISE_EACH_TIME
            }
        case list():
            return [_timeless(item, names) for item in value]
        case str() if value.startswith(("{", "[")):
            with suppress(ValueError):  # a text of the model's may begin so, too
                return _timeless(json.loads(value), names)
        case bytes():
            return value.hex()
    return names.get(value, value) if isinstance(value, str) else value


def ledger(base: Path) -> Record:
    """Return the history, as far as it is the same each time."""
    return {
        "steps": table(base, "steps", order="global_step"),
        "jobs": table(base, "jobs", order="display"),
        "attempts": table(base, "attempts", order="job_id number"),
        "validations": table(base, "validations", order="global_step"),
        "suite_scores": table(base, "suite_scores", order="global_step suite difficulty"),
        "previews": table(base, "previews", order="global_step prompt"),
        "not_applied": table(base, "not_applied", order="global_step"),
        "deaths": table(base, "deaths", order="message"),
    }


def miscounted(base: Path) -> list[str]:
    """Return which steps are missing or doubled, and which rows, now that everything is trained."""
    found = []
    steps = [row[0] for row in query(base, "SELECT global_step FROM steps ORDER BY 1")]
    if steps != list(range(1, newest_step(newest_manifest(base)) + 1)):
        found.append(f"the model's steps are not 1, 2, 3, … up to the checkpoint's: {steps}")
    counted = query(
        base,
        "SELECT display, jobs.rows AS wanted, sum(steps.rows) AS trained, count(*) AS taken,"
        " count(DISTINCT file_step) AS counted, min(file_step) AS first, max(file_step) AS last"
        " FROM jobs JOIN steps ON job_id = id WHERE state = 'completed' GROUP BY id",
    )
    for job in counted:
        if job["trained"] != job["wanted"]:
            found.append(f"{job['trained']} rows of {job['display']} were trained, not {job['wanted']}")
        if (job["first"], job["last"]) != (1, job["taken"]) or job["counted"] != job["taken"]:
            found.append(f"the steps of {job['display']} are not 1, 2, 3, …")
    return found


# ---- the checkpoint


def newest_manifest(base: Path) -> Record:
    """Return what the current checkpoint says."""
    manifest: Record = json.loads((base / "models" / "current_model" / "MANIFEST.json").read_text())
    return manifest


def newest_step(manifest: Record) -> int:
    """Return the steps that a checkpoint contains."""
    step: int = manifest["progress"]["global_step"]
    return step


def checkpoint(base: Path) -> Record:
    """Return what the current checkpoint holds: the SHA-256 of weights, optimizer and state, and progress."""
    folder = base / "models" / "current_model"
    names = {row["id"]: row["display"] for row in query(base, "SELECT id, display FROM jobs")}
    contents = {
        path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name not in NOT_COMPARED_AS_BYTES
    }
    return {
        "files": contents,
        "progress": _timeless(newest_manifest(base)["progress"], names),
        "steps": _timeless(json.loads((folder / "steps.json").read_text()), names),
    }


# ---- files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def places(base: Path) -> dict[str, list[str]]:
    """Return where every training file lies."""
    found: dict[str, list[str]] = {}
    for folder in (base / "inbox", base / "queue"):
        for path in folder.rglob("*"):
            is_hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
            if not is_hidden and path.name.endswith((".jsonl", ".jsonl.gz")):
                found.setdefault(path.name, []).append(str(path.parent.relative_to(base)))
    return dict(sorted(found.items()))


def unknown_files(base: Path) -> list[str]:
    """Return the training files that wait and that no open job in the ledger stands for."""
    jobs = query(base, "SELECT inode FROM jobs WHERE state IN ('waiting', 'processing')")
    known = {row["inode"] & INODE_BITS for row in jobs}
    waiting = [base / "inbox", *(base / "queue" / name for name in ("high", "normal", "low", "processing"))]
    return [
        path.name for folder in waiting for path in folder.rglob("*.jsonl*") if inode_of(path) not in known
    ]


def inode_of(path: Path) -> int | None:
    """Return the number of a file; None if it has just been moved on."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def contents(base: Path) -> dict[str, str]:
    """Return every file below a folder, with what it holds and when it was changed."""
    return {
        str(path.relative_to(base)): f"{sha256(path)}, changed at {path.stat().st_mtime_ns}"
        for path in sorted(base.rglob("*"))
        if path.is_file() and not _comes_with_reading(path)
    }


def _comes_with_reading(path: Path) -> bool:
    """Whether SQLite makes it when somebody reads: an empty log, or the index of one."""
    return path.name.endswith("-shm") or (path.name.endswith("-wal") and not path.stat().st_size)


# ---- comparing


def first_difference(expected: Any, found: Any, place: str) -> str | None:
    """Say where two values differ first; None if they do not. Keys that only `found` has do not count."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                return f"{place}/{key} is missing; expected {_short(value)}"
            if difference := first_difference(value, found[key], f"{place}/{key}"):
                return difference
        return None
    if isinstance(expected, list) and isinstance(found, list):
        for number, (left, right) in enumerate(zip(expected, found, strict=False)):
            if difference := first_difference(left, right, f"{place}/{number}"):
                return difference
        if len(expected) != len(found):
            return f"{place} has {len(found)} entries; expected {len(expected)}"
        return None
    return None if expected == found else f"{place} is {_short(found)}; expected {_short(expected)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 200 else f"{text[:200]}…"
