"""Shard an optimizer step, one shard for each process; and the messages in which shards travel.

Pure, apart from the last function, which asks the machine for its cores.
"""

import hashlib
import os
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from trainer.config.schema import TrainingSettings
from trainer.data.rendering.render import Example
from trainer.protocol.messages import Event, Faulted, ProtocolMessage, WorkerReady
from trainer.step.feeding_trainer import StepBundle

RESULTS = {"learning_rate", "loss", "grad_norm", "not_applied"}  # of a step that was taken


class LoadReplica(ProtocolMessage):
    """Load the same model from the same checkpoint, and join the others. Always the first order."""

    kind: Literal["load_replica"] = "load_replica"
    settings: dict[str, Any]
    checkpoint: str | None
    """The folder; None for the base model itself."""


class UseSettings(ProtocolMessage):
    """Take the next steps by these settings."""

    kind: Literal["use_settings"] = "use_settings"
    training: dict[str, Any]


class TakeStep(ProtocolMessage):
    """Compute this shard of a step, and take the step."""

    kind: Literal["take_step"] = "take_step"
    bundle: dict[str, Any]

    @classmethod
    def of(cls, shard: StepBundle) -> "TakeStep":
        """Make a message of a shard."""
        names = [field.name for field in fields(shard) if field.name not in RESULTS]
        return cls(bundle={name: getattr(shard, name) for name in names})

    def shard(self) -> StepBundle:
        """Return the shard again."""
        examples = [Example(**example) for example in self.bundle["examples"]]
        return StepBundle(**self.bundle | {"examples": examples, "lines": tuple(self.bundle["lines"])})


RankOrder = LoadReplica | UseSettings | TakeStep
ORDERS: TypeAdapter[RankOrder] = TypeAdapter(Annotated[RankOrder, Field(discriminator="kind")])
ANSWERS: TypeAdapter[Event] = TypeAdapter(Annotated[WorkerReady | Faulted, Field(discriminator="kind")])


def shard_step(bundle: StepBundle, num_ranks: int) -> list[StepBundle]:
    """Give each row, the longest first, to the process that has the fewest tokens so far.

    A process may get none. The supervised tokens stay those of the whole step, so that the losses and the
    gradients of the shards add up to the step's.
    """
    hands: list[list[Example]] = [[] for _ in range(num_ranks)]
    tokens = [0] * num_ranks
    for example in sorted(bundle.examples, key=lambda example: -len(example.token_ids)):
        rank = tokens.index(min(tokens))
        hands[rank].append(example)
        tokens[rank] += len(example.token_ids)
    return [
        replace(bundle, examples=hand, step_seed=rank_seed(bundle.step_seed, rank))
        for rank, hand in enumerate(hands)
    ]


def rank_seed(step_seed: int, rank: int) -> int:
    """Return the seed of one process's random numbers in a step: 63 bits, different in all of them."""
    return int.from_bytes(hashlib.sha256(f"{step_seed}:{rank}".encode()).digest()[:8], "little") >> 1


def threads_of_each(training: TrainingSettings) -> int | None:
    """Return the threads of each process; None leaves them to torch, which takes all cores."""
    if training.cpu_threads or training.processes == 1:
        return training.cpu_threads
    return max(1, len(os.sched_getaffinity(0)) // training.processes)
