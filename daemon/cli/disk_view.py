"""Disk space as text for people."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainer.protocol.text import duration_text, printable, size_text

if TYPE_CHECKING:
    from daemon.client.results import Act, CleaningPlan, DiskUsage, KeptUse

KINDS = {
    "leftover": "leftover",
    "version_trash": "deleted version",
    "queue_trash": "cleared files",
    "token_cache": "token cache",
    "base_model": "base model that nothing needs",
    "optimizer_state": "optimizer state",
    "checkpoint": "checkpoint",
}
SHOWN = 30  # lines of one kind
LONG_S = 365 * 86_400.0
DAY_S = 86_400.0


def usage_lines(found: "DiskUsage") -> Iterator[str]:
    """Yield what takes space, the largest first, and what could be freed."""
    usage = found.usage
    yield (
        f"{size_text(found.used_bytes)} are used here, {size_text(usage.free_bytes)} of "
        f"{size_text(usage.total_bytes)} are free{growth_text(found.growth_bytes_per_hour, found.full_in_s)}"
    )
    yield ""
    yield f"{'SIZE':>10}  {'FILES':>9}  WHAT"
    for place in sorted(usage.places, key=lambda place: -place.bytes):
        yield f"{size_text(place.bytes):>10}  {place.files:>9,}  {place.name} ({printable(place.folder)})"
    yield ""
    if found.kept.files and found.kept.budget_bytes:
        yield kept_text(found.kept)
    if not found.freeable:
        yield "nothing may be removed to free space: training_models gc --all --dry-run says why"
        return
    yield "training_models gc --all would free:"
    for item in found.freeable:
        yield f"{size_text(item.bytes):>10}  {item.count:>9,}  {KINDS[item.kind]}"
    if found.wanted_bytes:
        yield f"the daemon frees as much as is needed when less than {size_text(found.wanted_bytes)} are free"


def kept_text(kept: "KeptUse") -> str:
    """Return how long the files will be kept that are needed to forget one."""
    budget = f"{size_text(kept.budget_bytes)} (forget.kept_files_bytes)"
    text = f"files kept to be trained again have {size_text(kept.bytes)} of {budget}"
    if kept.full_in_s is None or kept.full_in_s >= LONG_S:
        return text
    return (
        f"{text}: full in {_days_text(kept.full_in_s)} at the pace of the last days; then those trained "
        "longest ago go, and what is older can no longer be forgotten"
    )


def _days_text(seconds: float) -> str:
    days = seconds / DAY_S
    return f"{days:.0f} days" if days >= 2 else duration_text(seconds)


def growth_text(growth: float | None, full_in_s: float | None) -> str:
    """Return how fast space is taken, as the end of a sentence; empty if that is not known."""
    if growth is None:
        return ""
    if growth < 1_000_000:
        return ", and hardly anything is added"
    when = ""
    if full_in_s is not None and full_in_s < LONG_S:
        when = f": full in {_days_text(full_in_s)} at this pace"
    return f"; {size_text(growth)} are added per hour{when}"


def plan_lines(plan: "CleaningPlan") -> Iterator[str]:
    """Yield what would be removed, and why the rest stays."""
    if plan.acts:
        yield f"{size_text(plan.frees_bytes)} will be freed:"
    else:
        is_enough = plan.wanted_bytes is not None and plan.is_enough
        why = "enough is free" if is_enough else "" if plan.left else "there is nothing that may go"
        yield "nothing is to be removed" + (f": {why}" if why else "")
    yield from _act_lines(plan.acts)
    if not plan.is_enough:
        yield from _shortage(plan)
    yield from _left_lines(plan)


def done_lines(plan: "CleaningPlan", done: "CleaningPlan") -> Iterator[str]:
    """Yield what was removed, and what of the plan was not."""
    yield f"{size_text(done.frees_bytes)} freed; {size_text(done.free_bytes)} are free now"
    removed = {(act.kind, act.path) for act in done.acts}
    why = {left.path: left.why for left in done.left}
    for act in plan.acts:
        if (act.kind, act.path) not in removed:
            yield f"  {act.path} stays: {printable(why.get(act.path, 'it is gone, or needed now'))}"
    if not done.is_enough:
        yield from _shortage(done)


def _act_lines(acts: "tuple[Act, ...]") -> Iterator[str]:
    shown: Counter[str] = Counter()
    for act in acts:
        shown[act.kind] += 1
        if shown[act.kind] <= SHOWN:
            size = size_text(act.frees_bytes) if act.frees_bytes else "-"
            yield f"  {size:>10}  {KINDS[act.kind]} {act.path}"
    for kind, count in shown.items():
        if count > SHOWN:
            yield f"  and {count - SHOWN:,} more: {KINDS[kind]}"
    if any(act.kind == "optimizer_state" for act in acts):
        yield "  (a version without its optimizer state still loads; training cannot continue from it)"


def _left_lines(plan: "CleaningPlan") -> Iterator[str]:
    if plan.left:
        yield "what stays:"
    for left in plan.left[:SHOWN]:
        yield f"  {left.path} {printable(left.why)}"
    if more := plan.left[SHOWN:]:
        yield f"  and {len(more):,} more: --json names them"


def _shortage(plan: Any) -> Iterator[str]:
    yield (
        f"that does not make {size_text(plan.wanted_bytes)} free; delete versions that you do not need "
        "(training_models delete), unpin checkpoints (training_health unpin), or add a disk"
    )
