"""Versions of the model as text for people."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from daemon.cli.queue_view import cells_of, shortened
from daemon.cli.validation_text import with_weights
from trainer.protocol.text import num_of, printable

if TYPE_CHECKING:
    from daemon.client.results import (
        FileInVersions,
        ModelVersion,
        RollbackPlan,
        SettingDifference,
        TrainedFile,
        VersionLine,
    )

FATES = {
    "undone": "is undone",
    "requeued": "is undone and is trained again",
    "trained": "is in the model again",
    "continues": "is in the model again, and its training continues",
}
KEEPS = ", but not its earlier steps"
BESIDE_FILE = 57
BELOW = " " * 9  # before names that find no room beside the facts of their version
POLICIES = ("file", "day", "gate")
"""Values of `versions.auto` that make versions."""


def list_lines(
    versions: "Sequence[VersionLine]", damaged: Mapping[str, str], *, columns: int | None
) -> Iterator[str]:
    """Yield a table of versions, oldest first.

    Args:
        damaged: versions that cannot be trusted, with what is wrong.
        columns: of the terminal, if it is one.
    """
    if not versions and not damaged:
        yield "there are no versions; make one of the newest checkpoint: training_models create"
        return
    losses = [version_loss(version.validation_loss, version.validation_weights) for version in versions]
    title = "VALIDATION"
    width = max(map(len, (title, *losses)))
    column = f"{'>' if width == len(title) else '<'}{width}"  # digits below digits, with words or without
    beside = f"{'VERSION':8} {'MADE (UTC)':16}  {'STEP':>9}  {'NEW FILES':>9}  {title:{column}}  "
    if versions:
        yield f"{beside}NAMES AND NOTE"
    for version, loss in zip(versions, losses, strict=True):
        current = ("current",) if version.is_current else ()
        tags = (f"#{tag}" for tag in version.tags)
        names = printable(", ".join((*current, *version.aliases, *tags, *version.notes[-1:])))
        made = version.made_at[:16].replace("T", " ")
        facts = f"{version.id:8} {made}  {version.global_step:>9,}  {version.files:>9,}  {loss:{column}}"
        if columns is None or len(beside) + cells_of(names) <= columns:
            yield f"{facts}  {names}".rstrip()
        else:
            yield facts.rstrip()
            yield from wrap(names, columns, initial_indent=BELOW, subsequent_indent=BELOW)
    for name, problem in damaged.items():
        yield f"{name}: damaged: {problem}"


def version_loss(loss: float | None, weights: str | None) -> str:
    """Return the validation loss of a version."""
    return "-" if loss is None else with_weights(f"{loss:.4f}", weights)


def maker_text(made_by: str) -> str:
    """Return who made a version, in words."""
    if made_by == "hand":
        return "by hand"
    return f"by versions.auto: {made_by}" if made_by in POLICIES else f"by {made_by}"


def version_json(version: "ModelVersion") -> dict[str, Any]:
    """Return everything about a version as JSON values."""
    return {
        **version.record.model_dump(mode="json"),
        "path": str(version.path),
        "has_optimizer_state": version.has_optimizer_state,
        "has_weights": version.has_weights,
        "aliases": version.aliases,
        "tags": version.tags,
        "notes": version.notes,
    }


def version_lines(version: "ModelVersion") -> Iterator[str]:
    """Yield everything about a version."""
    record = version.record
    yield f"{record.id}  {version.path}"
    facts: dict[str, str] = {
        "made": f"{record.made_at}, {maker_text(record.made_by)}",
        "checkpoint": f"{record.checkpoint} (step {record.global_step:,}, {record.tokens_seen:,} tokens)",
        "parent": record.parent or "the base model",
        "base model": f"{printable(record.base_model)} ({record.method})"
        + (f", consolidated in models/{printable(record.own_base)}" if record.own_base else ""),
        "aliases": ", ".join(version.aliases) or "-",
        "tags": ", ".join(version.tags) or "-",
        "weights": _weights_text(version),
    }
    if record.validation_loss is not None:
        facts["validation"] = version_loss(record.validation_loss, record.validation_weights)
    for name, fact in facts.items():
        yield f"  {name:11} {fact}"
    for score in record.suites:
        right = f"{score.exact_match:.1%} of {num_of(score.rows, 'row')}"
        if score.global_step != record.global_step:
            right += f", measured at step {score.global_step:,}"
        yield f"  suite       {printable(score.suite)}: {right}"
    for note in version.notes:
        yield f"  note        {printable(note)}"
    since = f"since {record.parent}" if record.parent else "from the base model on"
    jobs = len(record.trained)
    files = len({file.sha256 for file in record.trained})
    again = f", in {num_of(jobs, 'job')}" if jobs > files else ""
    yield f"  {num_of(files, 'file')} {since}{again}" + (":" if record.trained else "")
    for file in record.trained:
        steps = steps_text(file.first_step, file.last_step)
        yield f"    {printable(file.name)}  {_part(file, record.trained)}{steps}, {file.outcome}"


def _part(file: "TrainedFile", files: "Sequence[TrainedFile]") -> str:
    """Return what goes before the steps of a file that was overtaken: some of them are those of others."""
    is_overtaken = any(file.first_step < other.first_step < file.last_step for other in files)
    return "some of " if is_overtaken else ""


def steps_text(first: int, last: int) -> str:
    """Return steps of the model in words."""
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def _weights_text(version: "ModelVersion") -> str:
    if version.has_optimizer_state:
        return "kept with the optimizer state: training can continue from here"
    if version.has_weights:
        return "kept, but the optimizer state was removed: it can be loaded; training cannot continue exactly"
    return "not here: of a backup without them, only the record was restored"


def lineage_lines(
    version: "ModelVersion", files: "Sequence[TrainedFile]", *, columns: int | None
) -> Iterator[str]:
    """Yield the files that made a version, in the order of their first steps."""
    if not files:
        yield f"{version.id} was trained on no file"
        return
    width = max(len("FILE"), *(len(file.name) for file in files))
    if columns:
        width = min(width, max(20, columns - BESIDE_FILE))
    yield f"{'FILE':{width}}  {'STEPS':>19}  {'ALL ROWS':>8}  OUTCOME     SHA-256"
    for file in files:
        steps = f"{_part(file, files)}{file.first_step:,} to {file.last_step:,}"
        name = shortened(printable(file.name), width)
        yield f"{name:{width}}  {steps:>19}  {file.rows:>8,}  {file.outcome:10}  {file.sha256[:12]}"


def file_lines(found: "FileInVersions") -> Iterator[str]:
    """Yield the versions that a file is in."""
    yield f"{found.name} ({found.sha256[:12]}) is in {', '.join(found.versions)}"


def setting_lines(differences: "Sequence[SettingDifference]") -> Iterator[str]:
    """Yield the settings that differ between two versions."""
    if not differences:
        yield "no setting differs"
    for difference in differences:
        before, after = (json.dumps(value) for value in (difference.before, difference.after))
        yield f"{difference.setting}: {printable(before)} -> {printable(after)}"


def rollback_lines(plan: "RollbackPlan") -> Iterator[str]:
    """Yield what going back means."""
    yield (
        f"the model goes from step {plan.current_step:,} to step {plan.target_step:,} (models/{plan.target})"
    )
    if plan.asked_step is not None:
        yield (
            f"  step {plan.asked_step:,} itself is not kept: the model can only go back to a checkpoint or a "
            "version, and this is the newest one before it"
        )
    times = Counter(file.name for file in plan.files)
    for file in plan.files:
        which = f"job {file.job_id}, " if times[file.name] > 1 else ""  # a file may be trained twice
        steps = steps_text(file.first_step, file.last_step)
        yield f"  {file.name} ({which}{steps}) {FATES[file.fate]}{KEEPS if file.keeps_steps else ''}"
    if any(file.fate == "undone" for file in plan.files):
        yield "what is undone goes to queue/skipped/, unless its file is queued or in the model again"
