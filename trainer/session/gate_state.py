"""What the gate remembers between steps. Each checkpoint has it, so it goes back with the model."""

import json
import logging
from pathlib import Path

from pydantic import BaseModel

from trainer.evaluation.regression import Measured
from trainer.protocol.gate import STATE_FILE
from trainer.protocol.job import JobRecord

logger = logging.getLogger(__name__)


class Member(BaseModel):
    """A job whose steps will be judged."""

    name: str
    """Printable."""
    record: JobRecord | None = None
    """How it ended; None while it may get further steps."""


class Group(BaseModel):
    """Jobs that are judged together, and what the model was before the first of them."""

    checkpoint: str
    """The name of the one that has the model as it was then."""
    before: Measured
    since: int = 0
    """The first step whose state it is compared with, as the best of late: see `GateState.since`."""
    average_since: int = 0
    """The same for the average of the weights, which is not compared at all with a state from before that."""
    is_alone: bool
    """No other job may join it."""
    is_admitted: bool = False
    """Somebody wants its file, whatever comes of it."""
    rows: int = 0
    """Rows of all its jobs, times epochs."""
    members: dict[str, Member] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all its jobs have ended."""
        return all(member.record for member in self.members.values())


class GateState(BaseModel):
    """The content of `gate.json`."""

    groups: list[Group] = []
    """In the order in which they began; all but the last wait for a job that was preempted."""
    passed: list[Measured] = []
    """The states that the model was found good in, and those from right before where steps without a verdict
    came first; oldest first."""
    since: int = 0
    """Of these states, those from this step on differ from the newest by nothing but files that passed."""
    latest: Measured | None = None
    """What was measured last."""

    @property
    def is_empty(self) -> bool:
        return not (self.groups or self.passed or self.latest)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The names of those that must stay for now."""
        return tuple(dict.fromkeys(group.checkpoint for group in self.groups))

    def group_of(self, job_id: str) -> Group | None:
        """Return the group that a job belongs to."""
        return next((group for group in self.groups if job_id in group.members), None)

    def since_of(self, before: Measured) -> int:
        """Return the first step whose state counts as one of late for files that are trained next.

        None counts from before steps that have no verdict, such as those of a preempted job: what they did to
        the model is no fault of these files.

        Args:
            before: the state that the model is in.
        """
        is_judged = bool(self.passed) and self.passed[-1].global_step == before.global_step
        return self.since if is_judged else before.global_step

    def keep_only(self, open_jobs: set[str]) -> None:
        """Forget jobs that are not open any more: they were taken away, or the model went back."""
        for group in self.groups:
            group.members = {key: member for key, member in group.members.items() if key in open_jobs}
        self.groups = [group for group in self.groups if group.members]

    def pass_on(self, group: Group, measured: Measured | None, *, window: int, starts_anew: bool) -> None:
        """Take a group's jobs as part of the model.

        Args:
            measured: the state that the model is in; None if it could not be measured.
            window: how many states are kept to be compared with.
            starts_anew: later states are not compared with those before.
        """
        self.groups.remove(group)
        self.since = measured.global_step if measured and starts_anew else group.since
        known = [] if starts_anew else self.passed
        if not starts_anew and (not known or known[-1].global_step < group.before.global_step):
            known = [*known, group.before]
        found = [*known, *([measured] if measured else [])]
        self.passed = found[-max(1, window) :]  # the newest also says up to where steps have a verdict


def write_gate(folder: Path, state: GateState) -> None:
    """Write it into the folder of a checkpoint, unless there is nothing to remember."""
    if not state.is_empty:
        # By this library: the other one cannot write a name whose bytes are no text
        (folder / STATE_FILE).write_text(json.dumps(state.model_dump(mode="json")))


def read_gate(checkpoint: Path) -> GateState:
    """Return what a checkpoint has; nothing if it was written without a gate, or by another release."""
    try:
        return GateState.model_validate(json.loads((checkpoint / STATE_FILE).read_bytes()))
    except FileNotFoundError:
        return GateState()
    except ValueError as error:  # also what pydantic raises
        logger.warning("%s cannot be understood, so the gate begins anew: %s", checkpoint / STATE_FILE, error)
        return GateState()
