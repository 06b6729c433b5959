"""What the machine provides: folders and their permissions, disk, memory, GPU, and a plausible clock.

Pure, apart from `check_folders`, which reads folders, and `free_bytes`.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from daemon.health.check_result import CheckResult, Severity, ok, problem, warning
from trainer.protocol.layout import PRIVATE_MODE, Layout
from trainer.protocol.status import Gpu
from trainer.protocol.text import printable, shell_word, size_text

MIN_AVAILABLE_BYTES = 512 * 1024 * 1024
SIZES_PER_SAVE = 2  # the room the worker wants before it saves, in sizes of a checkpoint
CLOCK_TOLERANCE_S = 60.0
FIX = "training_health check --fix"


def check_folders(layout: Layout, *, uid: int) -> list[CheckResult]:
    """Check that every folder exists, is ours, and is closed to others.

    Args:
        uid: the user who runs the daemon.
    """
    folders = layout.folders()
    having: dict[_Defect, list[str]] = {}
    for folder in folders:
        name = f"{folder.relative_to(layout.base)}/"
        for defect in _defects(folder, uid):
            having.setdefault(defect, []).append(name)
    findings = [
        CheckResult("folders", defect.level, f"{', '.join(names)}: {defect.what}", defect.advice)
        for defect, names in having.items()
    ]
    base, mode = printable(str(layout.base)), layout.base.stat().st_mode
    if mode & stat.S_IWOTH:
        message = f"{base} can be written by everybody, so anyone can replace its contents"
        findings.append(problem("folders", message, f"chmod o-w {shell_word(str(layout.base))}"))
    if mode & 0o700 != 0o700:
        message = f"{base} cannot be written, so neither config.json nor a missing folder can be created"
        findings.append(problem("folders", message, f"chmod u+rwx {shell_word(str(layout.base))}"))
    return findings or [ok("folders", f"all {len(folders)} exist and are closed to other users")]


class _Defect(NamedTuple):
    level: Severity
    what: str
    advice: str


def _defects(folder: Path, uid: int) -> Iterator[_Defect]:
    try:
        found = folder.stat()
    except FileNotFoundError:
        yield _Defect(Severity.PROBLEM, "missing", _how_to_create(folder))
        return
    if not stat.S_ISDIR(found.st_mode):
        yield _Defect(Severity.PROBLEM, "not a folder", "move it away; the daemon creates the folder")
        return
    is_ours = uid in (found.st_uid, 0)
    if found.st_uid != uid:
        advice = "run everything as one user, or give them to this one with chown -R"
        yield _Defect(Severity.PROBLEM, f"belongs to user {found.st_uid}; expected user {uid}", advice)
    mode = stat.S_IMODE(found.st_mode)
    advice = f"set their rights: {FIX}"
    if folder.is_symlink():
        advice = f"chmod {PRIVATE_MODE:04o}, which --fix does not do for a link"
    elif not is_ours:
        advice = f"chmod {PRIVATE_MODE:04o}, as the user to whom it belongs"
    if mode & 0o700 != 0o700:
        what = f"mode {mode:04o} does not let its own user read and write; expected {PRIVATE_MODE:04o}"
        yield _Defect(Severity.PROBLEM, what, advice)
    elif mode & 0o077:
        is_writable = bool(mode & 0o022)
        yield _Defect(
            Severity.PROBLEM if is_writable else Severity.WARNING,
            f"mode {mode:04o} lets others {'write' if is_writable else 'read'}; expected {PRIVATE_MODE:04o}",
            advice,
        )
    elif is_read_only(folder):
        advice = "mount it for writing; check the disk (dmesg) if it was mounted so before"
        yield _Defect(Severity.PROBLEM, "its file system is read-only", advice)


def _how_to_create(folder: Path) -> str:
    if folder.is_symlink():
        return "remove the link; the daemon creates the folder"
    parent = folder.parent
    if parent.is_dir() and (is_read_only(parent) or not os.access(parent, os.W_OK | os.X_OK)):
        return f"make {printable(str(parent))} writable for this user; then create what is missing: {FIX}"
    return f"create what is missing: {FIX}"


def is_read_only(folder: Path) -> bool:
    """Whether a folder's file system is mounted so that nobody may write."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def check_disk(free: Mapping[str, int], *, min_free_bytes: int, checkpoint_bytes: int) -> list[CheckResult]:
    """Check that there is room for the next checkpoint, and for everything else.

    Args:
        free: folder -> free bytes for users.
        min_free_bytes: as `daemon.min_free_bytes`.
        checkpoint_bytes: of the newest one; 0 when there is none.
    """
    findings = []
    for folder, free_bytes in free.items():
        for_saving = SIZES_PER_SAVE * checkpoint_bytes if folder == "models" else 0
        needed, why = max((min_free_bytes, "daemon.min_free_bytes"), (for_saving, "two checkpoints"))
        message = f"{folder}/ has {size_text(free_bytes)} free"
        if free_bytes < needed:
            message += f"; expected {size_text(needed)} ({why})"
            findings.append(
                problem(
                    "disk", message, "free some space; if training waits for that, it continues on its own"
                )
            )
        else:
            findings.append(ok("disk", message))
    return findings


def free_bytes(folder: Path) -> int:
    """Return what an ordinary user may still write below `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def check_memory(available_bytes: int, *, checkpoint_bytes: int, worker_runs: bool) -> CheckResult:
    """Look whether the model fits into memory, unless it is there already."""
    message = f"{size_text(available_bytes)} are available"
    needed = MIN_AVAILABLE_BYTES if worker_runs else max(MIN_AVAILABLE_BYTES, checkpoint_bytes)
    if available_bytes >= needed:
        return ok("memory", message)
    reason = f"; expected {size_text(needed)}" + ("" if worker_runs else " to load the model")
    return warning("memory", message + reason, "stop other programs, or train on a machine with more memory")


def check_gpu(gpus: Sequence[Gpu], *, wanted: str, trained_on: str | None) -> CheckResult:
    """Look whether the GPU that training needs is there.

    Args:
        wanted: as `training.device`.
        trained_on: device of the newest checkpoint; None when there is none.
    """
    if gpus:
        used = "; ".join(
            f"{printable(gpu.name)}, {size_text(gpu.used_bytes)} of {size_text(gpu.total_bytes)} used"
            for gpu in gpus
        )
        return ok("gpu", used)
    if wanted == "cuda":
        advice = 'check nvidia-smi and the driver, or set training.device to "auto"'
        return problem("gpu", 'none found, but training.device is "cuda"', advice)
    if wanted == "auto" and trained_on and trained_on.startswith("cuda"):
        return problem(
            "gpu",
            "none found, but the newest checkpoint was trained on one, so the daemon will not continue",
            'check nvidia-smi and the driver, or set training.device to "cpu"',
        )
    return ok("gpu", "none needed; training runs on the CPU")


def check_clock(moments: Mapping[str, str], *, now: float) -> CheckResult:
    """Look for times in the future: then the clock was wrong once, or is wrong now.

    Args:
        moments: what happened -> when (UTC, ISO 8601); what cannot be read as a time is passed over.
        now: Unix seconds.
    """
    for what, at in moments.items():
        try:
            ahead_s = datetime.fromisoformat(at).timestamp() - now
        except (ValueError, OverflowError):
            continue
        if ahead_s > CLOCK_TOLERANCE_S:
            return warning(
                "clock",
                f"{what} was written {ahead_s:.0f} s in the future ({printable(at)})",
                "set the clock (timedatectl); nothing is lost, because order never depends on it",
            )
    return ok("clock", "no time stamp is in the future")
