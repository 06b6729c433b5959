"""Which checkpoints may be removed. Pure: facts about each come in, the names to remove go out."""

from collections.abc import Sequence
from dataclasses import dataclass

ALWAYS_KEPT = 2  # the newest, and the one to fall back on should it turn out damaged


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How many checkpoints stay; the meaning is that of the settings of the same names."""

    keep_last: int = 3
    keep_every: int | None = None
    keep_best: int = 0
    max_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetentionCandidate:
    """What decides about one checkpoint."""

    name: str
    sequence: int
    num_bytes: int
    is_verified: bool
    """Its files were compared with its manifest; what is not verified protects nobody."""
    is_held: bool
    """Pinned, in use, or the one that `current_model` points to."""
    validation_loss: float | None = None


def choose_removals(candidates: Sequence[RetentionCandidate], rules: Retention) -> list[str]:
    """Return the names of the checkpoints to remove, oldest first.

    The newest verified ones and those that somebody holds stay, whatever the rules say. Order is by
    sequence number: no clock is read.
    """
    newest_first = sorted(candidates, key=lambda candidate: candidate.sequence, reverse=True)
    untouchable = _untouchable(newest_first)
    wanted = untouchable | _wanted(newest_first, rules)
    if rules.max_bytes is not None:
        size = sum(candidate.num_bytes for candidate in newest_first if candidate.name in wanted)
        for candidate in reversed(newest_first):
            if size > rules.max_bytes and candidate.name in wanted - untouchable:
                wanted.remove(candidate.name)
                size -= candidate.num_bytes
    return [candidate.name for candidate in reversed(newest_first) if candidate.name not in wanted]


def least_bytes(candidates: Sequence[RetentionCandidate]) -> int:
    """Return what the checkpoints need that no rule may remove, once another one has been published."""
    newest_first = sorted(candidates, key=lambda candidate: candidate.sequence, reverse=True)
    verified = [candidate for candidate in newest_first if candidate.is_verified]
    stay = {candidate.name for candidate in verified[: ALWAYS_KEPT - 1]}
    return sum(item.num_bytes for item in newest_first if item.name in stay or item.is_held)


def _untouchable(newest_first: Sequence[RetentionCandidate]) -> set[str]:
    verified = [candidate.name for candidate in newest_first if candidate.is_verified]
    if len(verified) < ALWAYS_KEPT:
        return {
            candidate.name for candidate in newest_first
        }  # nothing goes before its replacement is verified
    return {*verified[:ALWAYS_KEPT], *(candidate.name for candidate in newest_first if candidate.is_held)}


def _wanted(newest_first: Sequence[RetentionCandidate], rules: Retention) -> set[str]:
    wanted = {candidate.name for candidate in newest_first[: rules.keep_last]}
    if rules.keep_every:
        wanted |= {item.name for item in newest_first if item.sequence % rules.keep_every == 0}
    judged = [item for item in newest_first if item.validation_loss is not None]
    judged.sort(key=lambda item: item.validation_loss or 0.0)  # stable: of equal ones the newest comes first
    return wanted | {item.name for item in judged[: rules.keep_best]}
