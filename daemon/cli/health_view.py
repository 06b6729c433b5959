"""Text for people: what a health check shows, checkpoints, crashes. What comes in is printable already."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from daemon.cli.fault_words import NO_CRASH, fault_words
from trainer.protocol.text import printable, size_text

if TYPE_CHECKING:
    from daemon.client.results import BrokenCheckpoint, CheckResult, CrashGroup, WholeCheckpoint

LEVEL_WIDTH = 8


def finding_indent(findings: Sequence["CheckResult"]) -> int:
    """Return in which column the messages begin."""
    return LEVEL_WIDTH + max(len(finding.name) for finding in findings) + 3


def finding_lines(findings: Sequence["CheckResult"]) -> Iterator[str]:
    """Yield a line for each finding, one more for what to do, and the sum."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"{finding.level:{LEVEL_WIDTH}} {finding.name:{width}}  {finding.message}"
        if finding.advice:
            yield f"{'':{LEVEL_WIDTH}} {'':{width}}  -> {finding.advice}"
    counts = Counter(finding.level.value for finding in findings)
    yield f"problems: {counts['problem']}, warnings: {counts['warning']}, ok: {counts['ok']}"


def checkpoint_line(found: "WholeCheckpoint | BrokenCheckpoint") -> str:
    """Return the line of one checkpoint."""
    marks = ", current" * found.is_current + ", pinned" * found.is_pinned
    start = f"{found.name}  {found.state}{marks}"
    if found.state != "ok":
        return f"{start}: {found.reason}"
    step, size = f"step {found.global_step:,}", size_text(found.bytes)
    return f"{start}: {step}, {size}, written {printable(found.written_at)}"


def crash_lines(groups: Sequence["CrashGroup"]) -> Iterator[str]:
    """Yield a paragraph for each kind of crash, and of what was none."""
    if not any(group.is_crash for group in groups):
        yield "no worker has crashed so far"
    for group in groups:
        name = fault_words(group.kind) + ("" if group.is_crash else f" ({NO_CRASH})")
        yield f"{group.count:,} x {name}, most recently at {group.newest_at}"
        if group.file is not None:
            yield f"    file: {group.file}, at its step {_step(group.file_step)}"
        yield f"    last global step: {_reached(group)}"
        yield f"    message: {group.message}"
        yield f"    what to do: {group.advice}"


def _reached(group: "CrashGroup") -> str:
    if group.global_step is not None:
        return f"{group.global_step:,}"
    return f"none yet; the worker was still loading {group.loading or 'the base model'}"


def _step(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
