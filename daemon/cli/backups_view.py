"""Backups as text for people."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainer.protocol.text import duration_text, num_of, printable, shell_word, size_text

if TYPE_CHECKING:
    from daemon.client.results import (
        BackupList,
        BackupMade,
        DrillResult,
        PrunedBackups,
        RestoredBackup,
        VerifiedBackups,
    )

ONE_DEVICE = (
    "note: the backups are on the same device as the working directory, so one broken disk takes both; "
    "choose a folder on another disk, or another machine"
)


def made_lines(made: "BackupMade") -> list[str]:
    """Return what was backed up."""
    lines = [
        f"{made.id}: step {made.global_step:,} of the model is in {made.to} "
        f"({num_of(made.files, 'file')}, {size_text(made.sent_bytes)} sent, "
        f"{size_text(made.there_bytes)} were there; {duration_text(made.seconds)})"
    ]
    return [*lines, *_notes(made.notes), *([ONE_DEVICE] if made.shares_device else [])]


def list_lines(found: "BackupList", *, option: str = "") -> list[str]:
    """Return a table of backups, oldest first.

    Args:
        option: what says where they are, as it was typed; empty for the settings.
    """
    if not found.backups and not found.damaged:
        return [
            f"{found.to} has no backup (if a disk belongs there, see that it is mounted); to make one: "
            f"training_models backup create{option}"
        ]
    lines = [f"{'BACKUP':22}  {'MADE (UTC)':16}  {'STEP':>9}  {'SIZE':>9}  WHY"] if found.backups else []
    has_several = len({item.origin for item in found.backups}) > 1
    for item in found.backups:
        of = f", of {printable(item.origin)}" if has_several else ""
        with_versions = f", with {', '.join(item.versions)}" if item.versions else ""
        lines.append(
            f"{item.id:22}  {item.at[:16].replace('T', ' ')}  {item.global_step:>9,}  "
            f"{size_text(item.total_bytes):>9}  {printable(item.why)}{with_versions}{of}"
        )
    lines += [f"{name}: damaged: {problem}" for name, problem in found.damaged.items()]
    lines.append(f"{size_text(found.stored_bytes)} are stored in {found.to}")
    return [*lines, *([ONE_DEVICE] if found.shares_device else [])]


def verified_lines(found: "VerifiedBackups") -> list[str]:
    """Return what hashing everything again has found."""
    if not found.backups and not found.damaged:
        return [f"{found.to} has no backup to be verified; if a disk belongs there, see that it is mounted"]
    checked = f"{num_of(found.backups, 'backup')}, {num_of(found.objects, 'object')}"
    if found.is_whole:
        return [f"{found.to}: {checked} ({size_text(found.hashed_bytes)}): everything is whole"]
    lines = [f"{found.to}: {checked}: damage was found"]
    lines += [f"  {name}: {problem}" for name, problem in found.damaged.items()]
    if found.unusable:
        lines.append(f"  these backups cannot be restored: {', '.join(found.unusable)}")
    lines.append("remove what is damaged there; the next backup sends again what it needs of it")
    return lines


def restored_lines(found: "RestoredBackup", *, is_done: bool) -> list[str]:
    """Return what restoring a backup has made, or would make."""
    files = f"{num_of(found.files, 'file')}, {size_text(found.total_bytes)}"
    of = f"of {printable(found.origin)}, " if found.origin else ""
    what = f"{found.id} ({of}step {found.global_step:,}, {files})"
    lines = [f"{what} {'is restored' if is_done else 'will be restored'} in {found.into}"]
    if found.moved_aside:
        is_or_was = "what was there is" if is_done else "what is there now will be"
        lines.append(f"{is_or_was} in {found.moved_aside}")
    if found.needs_base_model:
        base = printable(found.needs_base_model)
        lines.append(f"note: it is an adapter, and its base model {base} is not in the backup")
    if is_done:
        lines.append(f"to continue there: training_daemon start --base-dir {shell_word(found.into)}")
    return lines


def drill_lines(result: "DrillResult") -> list[str]:
    """Return whether a backup can be used."""
    verdict = "passed" if result.passed else "FAILED"
    return [
        f"{result.id} (step {result.global_step:,}): {verdict}: {result.message} "
        f"({num_of(result.files, 'file')}, {size_text(result.total_bytes)}, {result.seconds:.0f} s)"
    ]


def pruned_lines(found: "PrunedBackups", *, is_done: bool) -> list[str]:
    """Return which backups were removed, or would be."""
    will = "" if is_done else "will be "
    lines = [f"{name} {'is' if is_done else 'will be'} removed" for name in found.removed]
    if not found.removed:
        lines = [f"no backup {'was' if is_done else 'would be'} removed"]
    freed = f"{num_of(found.freed_objects, 'object')} ({size_text(found.freed_bytes)}) {will}freed"
    staying = f"{num_of(len(found.kept), 'backup')} {'stays' if len(found.kept) == 1 else 'stay'}"
    return [*lines, f"{staying}; {freed}", *_notes(found.notes)]


def _notes(notes: Iterable[str]) -> list[str]:
    return [f"note: {printable(note)}" for note in notes]
