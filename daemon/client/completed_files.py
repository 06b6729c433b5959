"""Completed files: what each has brought, and which checkpoint was the first to contain it."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from daemon.ledger.completions import Completion, read_completions
from daemon.ledger.file_value import FileValue
from daemon.ledger.pages_of_jobs import EndedJob, read_ended_page
from trainer.protocol.checkpoints import FOLDER
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome
from trainer.protocol.text import printable

CHECKPOINT_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, kw_only=True)
class CompletedFile(FileValue):
    """A file that was trained to its end."""

    finished_at: str | None
    """UTC, ISO 8601."""
    tokens_per_s: float | None
    """None if it took no step."""
    validation_change: float | None
    """How much the validation loss has changed; None unless both are of as many rows and the same weights."""
    checkpoint: str | None
    """Name of the first that contains it; None if it took no step, or if that is not known any more."""
    is_checkpoint_kept: bool
    """Whether that checkpoint is still there."""


@dataclass(frozen=True, kw_only=True)
class PastFile(CompletedFile):
    """A file that has ended, however it did."""

    reason: str | None
    """Why it failed or was skipped; printable."""


@dataclass(frozen=True, kw_only=True)
class PastFiles:
    """Some of the files that have ended, the last one first."""

    files: tuple[PastFile, ...]
    next: str | None
    """Where the next page begins; None if this is the last one."""


def past_files(
    layout: Layout, *, states: Collection[Outcome], after: str, limit: int, search: str
) -> PastFiles:
    """Return files that have ended, the last one first.

    Args:
        after: `next` of the page before; "" for the first page.
        search: only files with this in their names, whatever the case of its letters.
    Raises:
        UnreadableLedger: the ledger cannot be read.
    """
    found = read_ended_page(
        layout.ledger_file,
        states=states,
        before=after,
        limit=limit + 1,
        search=search,
    )
    kept = KeptCheckpoints(layout.models)
    files = tuple(_past(job, kept) for job in found[:limit])
    last = found[limit - 1] if len(found) > limit else None
    return PastFiles(files=files, next=last.cursor if last else None)


def _past(job: EndedJob, kept: "KeptCheckpoints") -> PastFile:
    completion = Completion(value=job.value, finished_at=job.finished_at, checkpoint=job.checkpoint)
    known = vars(_described(completion, kept))
    if job.value.state != Outcome.COMPLETED:
        known |= {"checkpoint": None, "is_checkpoint_kept": False}
    return PastFile(**known, reason=job.reason)


def completed_files(layout: Layout, *, limit: int) -> list[CompletedFile]:
    """Return the files that were completed last, the last one first.

    Raises:
        UnreadableLedger: the ledger cannot be read.
    """
    kept = KeptCheckpoints(layout.models)
    return [_described(item, kept) for item in read_completions(layout.ledger_file, limit=limit)]


def _described(item: Completion, kept: "KeptCheckpoints") -> CompletedFile:
    value = item.value
    checkpoint = kept.first_with(value.last_step, item.checkpoint)
    return CompletedFile(
        **vars(value),
        finished_at=item.finished_at,
        tokens_per_s=speed(value.tokens, value.seconds),
        validation_change=value.change,
        checkpoint=checkpoint,
        is_checkpoint_kept=checkpoint in kept,
    )


def speed(tokens: int, seconds: float) -> float | None:
    """Return tokens per second; None if there was no time."""
    return tokens / seconds if seconds else None


class KeptCheckpoints:
    """The names of the checkpoints that are there now, by the global step they were saved at.

    Args:
        models: the folder of models.
    """

    def __init__(self, models: Path) -> None:
        names = [path.name for path in (models / FOLDER).glob("step-*")]
        self._steps = {name: int(found[1]) for name in names if (found := CHECKPOINT_NAME.fullmatch(name))}

    def __contains__(self, name: str | None) -> bool:
        return name in self._steps

    def first_with(self, last_step: int | None, announced: str | None) -> str | None:
        """Return the first checkpoint that contains a step; of those that are known.

        Args:
            last_step: in the model's life; None for a file that took no step.
            announced: the first one that an event names; a crash may have come before the event.
        """
        if last_step is None:
            return None
        candidates = {name: step for name, step in self._steps.items() if step >= last_step}
        if announced and (found := CHECKPOINT_NAME.fullmatch(announced)) and int(found[1]) >= last_step:
            candidates[announced] = int(found[1])
        first = min(candidates, key=lambda name: (candidates[name], name), default=None)
        return first and printable(first)
