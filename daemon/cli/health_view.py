"""Findings, checkpoints and ends of workers as text for people. What comes in is printable already."""

from collections.abc import Iterator, Sequence

from daemon.checkpoints.review import Blocked, Reviewed, Whole
from daemon.health.finding import Finding, Level, size_text
from daemon.health.restart_plan import CannotGoOn, GoesOn, NoPlan, RestartPlan
from daemon.ledger.crashes import CrashGroup
from trainer.protocol.pins import is_pinned
from trainer.protocol.text import printable

LINES_SHOWN = 12


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each finding, one more for what to do, and the sum."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"{finding.level:8} {finding.name:{width}}  {finding.message}"
        if finding.advice:
            yield f"{'':8} {'':{width}}  -> {finding.advice}"
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    yield f"problems: {counts[Level.PROBLEM]}, warnings: {counts[Level.WARNING]}, ok: {counts[Level.OK]}"


def checkpoint_line(item: Reviewed, *, current: str | None) -> str:
    """Return the line of one checkpoint."""
    name = printable(item.path.name)
    marks = "".join([", current" * (item.path.name == current), ", pinned" * is_pinned(item.path)])
    if not isinstance(item, Whole):
        return f"{name}  {type(item).__name__.lower()}{marks}: {item.reason}"
    manifest = item.manifest
    at = printable(manifest.written_at)
    step = f"step {manifest.progress.global_step:,}"
    return f"{name}  ok{marks}: {step}, {size_text(manifest.total_bytes)}, written {at}"


def restart_lines(
    start: Whole | Blocked | None, plan: RestartPlan | NoPlan | None, *, is_paused: bool
) -> Iterator[str]:
    """Yield what a restart would do, in its order."""
    match start:
        case Blocked(reason):
            yield f"a restart would be blocked: {reason}"
            yield "restore a checkpoint from a backup, or move them all away to start from the base model"
            return
        case Whole(path, manifest):
            step = manifest.progress.global_step
            yield f"a restart would load {printable(path.name)} and go on after global step {step:,}"
        case None:
            yield "a restart would begin with the base model, at global step 0"
    if is_paused:
        yield "it would stay paused until: training_controller resume"
    if isinstance(plan, NoPlan):
        yield f"with which file cannot be said: {plan.reason}"
    elif plan:
        yield from _file_lines(plan)


def _file_lines(plan: RestartPlan) -> Iterator[str]:
    for place in plan.put_away:
        yield f"{place} is trained to its end and would only be put away"
    for place in plan.checked[:LINES_SHOWN]:
        yield f"{place} is not known to the ledger and would be checked first"
    if len(plan.checked) > LINES_SHOWN:
        yield f"… and {len(plan.checked) - LINES_SHOWN:,} more to be checked"
    match plan.first:
        case GoesOn() as first:
            step = f"step {first.step:,} of {first.total_steps:,}"
            yield f"it would go on with {first.file} at {step}, whose rows are {_lines_text(first.lines)}"
        case CannotGoOn() as first:
            yield f"{first.file} would come first, but cannot go on: {first.reason}"
        case None:
            yield "no file is ready to be trained"
    if plan.overtaken_by:
        yield f"after a step of it the more urgent {plan.overtaken_by} would take over"
    if plan.others:
        yield f"{plan.others:,} more would follow"


def _lines_text(numbers: Sequence[int]) -> str:
    shown = ", ".join(f"{number}" for number in numbers[:LINES_SHOWN])
    more = f" and {len(numbers) - LINES_SHOWN} more" if len(numbers) > LINES_SHOWN else ""
    return f"line {shown}" if len(numbers) == 1 else f"lines {shown}{more}"


def death_lines(groups: Sequence[CrashGroup]) -> Iterator[str]:
    """Yield a paragraph for each kind of death."""
    if not groups:
        yield "no worker has ended out of order"
    for group in groups:
        yield f"{group.count:,} x {printable(group.kind)}, the last at {group.newest_at}"
        if group.file is not None:
            yield f"    file: {group.file}, at step {_step(group.file_step)} of it"
        yield f"    last global step: {_step(group.global_step)}"
        yield f"    message: {group.message}"
        yield f"    what to do: {group.advice}"


def _step(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
