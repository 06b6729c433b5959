"""What happens while a model is trained again, in a file: the ledger takes it in once that is published."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from trainer.protocol.files import sync_directory, write_json
from trainer.protocol.forgetting import BranchHeader, ErasedUnseen, NewPlan, OrderHeader, erased_unseen_file
from trainer.protocol.job import Outcome
from trainer.protocol.messages import Event, Heartbeat, JobEnded, StepsTaken, SuiteScored, Validated
from trainer.protocol.text import printable

TELL_EVERY_S = 5.0


class Recorder:
    """Appends steps and evaluations to a file, and says now and then how far it is.

    Args:
        path: what an earlier try has written there stays, up to its last whole line.
        total: about how many steps there will be at the end, in the model's life.
        must_complete: names of files by the ids of their jobs, which were completed before.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        total: int,
        must_complete: Mapping[str, str],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._total = total
        self._must_complete = must_complete
        self._tell = tell
        self._clock = clock
        self._reported_at = float("-inf")
        self.problem: str | None = None
        """Why what is trained is not what was trained before."""
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("ab+")
        self._file.seek(0)
        self._file.truncate(_end_of_last_line(self._file))
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()

    def take(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case StepsTaken() | Validated() | SuiteScored():
                self._write(event)
            case Heartbeat(section="saving"):
                self._sync()  # before a checkpoint contains these steps
            case JobEnded() if event.record.outcome is Outcome.FAILED:
                if name := self._must_complete.get(event.record.job_id):
                    self.problem = f"{printable(name)} cannot be trained again: {event.record.message}"
        if isinstance(event, StepsTaken):
            self._say(event.steps[-1].global_step)

    def _write(self, event: StepsTaken | Validated | SuiteScored) -> None:
        assert self._file
        self._file.write(json.dumps(event.model_dump(mode="json")).encode() + b"\n")
        self._file.flush()

    def _sync(self) -> None:
        assert self._file
        os.fsync(self._file.fileno())

    def _say(self, global_step: int) -> None:
        if self._clock() >= self._reported_at + TELL_EVERY_S:
            self._reported_at = self._clock()
            self._tell(f"trained again up to step {global_step:,} of {self._total:,}")


def _end_of_last_line(file: BinaryIO) -> int:
    end = 0
    for line in file:
        if line.endswith(b"\n"):
            end += len(line)
    return end


def write_branch(path: Path, header: BranchHeader, plans: list[NewPlan], steps_file: Path) -> None:
    """Write what happened on a branch, durably; it appears whole or not at all."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    with partial.open("wb") as file:
        file.write(json.dumps(header.model_dump(mode="json")).encode() + b"\n")
        for plan in plans:
            file.write(json.dumps({"new_plan": plan.model_dump(mode="json")}).encode() + b"\n")
        if steps_file.exists():
            with steps_file.open("rb") as steps:
                for line in steps:
                    file.write(line)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_directory(path.parent)


def write_erased_unseen(models: Path, header: OrderHeader) -> None:
    """Note durably, for the ledger, that a file was erased which the model had never seen."""
    path = erased_unseen_file(models, header.sha256)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    note = ErasedUnseen(job_ids=tuple(fate.job_id for fate in header.fates), reason=header.reason)
    write_json(path, note.model_dump(mode="json"), durable=True)
