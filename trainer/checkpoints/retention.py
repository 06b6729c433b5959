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
    spine_max_bytes: int = 0
    spine_room_bytes: int | None = None
    """No setting: none is added to a spine that would be larger than this. None sets no limit."""
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
    ended_files: int | None = None
    """How many files had ended until then; None if it is no earlier state of the newest one."""


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


def kept_spine(candidates: Sequence[RetentionCandidate], rules: Retention) -> set[str]:
    """Return the names of the checkpoints of the spine that the rules keep; none if it is turned off."""
    if not rules.spine_max_bytes:
        return set()
    newest_first = sorted(candidates, key=lambda candidate: candidate.sequence, reverse=True)
    anyway = _wanted_anyway(newest_first, rules)
    found = _affordable(spine(newest_first), anyway, rules.spine_max_bytes)
    if rules.spine_room_bytes is None:
        return found
    # What was kept anyway until the newest one was there would join it now
    joining = found & _wanted_anyway(newest_first[1:], rules) - anyway
    size = sum(item.num_bytes for item in newest_first if item.name in found - anyway - joining)
    for candidate in newest_first:
        if candidate.name in joining and (size := size + candidate.num_bytes) > rules.spine_room_bytes:
            found.remove(candidate.name)
    return found


def _wanted(newest_first: Sequence[RetentionCandidate], rules: Retention) -> set[str]:
    return _wanted_anyway(newest_first, rules) | kept_spine(newest_first, rules)


def _wanted_anyway(newest_first: Sequence[RetentionCandidate], rules: Retention) -> set[str]:
    """Return the names of those that are kept whatever is on the spine."""
    wanted = {candidate.name for candidate in newest_first[: rules.keep_last]}
    if rules.keep_every:
        wanted |= {item.name for item in newest_first if item.sequence % rules.keep_every == 0}
    judged = [item for item in newest_first if item.validation_loss is not None]
    judged.sort(key=lambda item: item.validation_loss or 0.0)  # stable: of equal ones the newest comes first
    return wanted | {item.name for item in judged[: rules.keep_best]}


def _affordable(
    newest_first: Sequence[RetentionCandidate], kept_anyway: set[str], max_bytes: int
) -> set[str]:
    """Return the newest ones that fit into `max_bytes`, besides those that are kept anyway."""
    found, size = set(), 0
    for candidate in newest_first:
        size += 0 if candidate.name in kept_anyway else candidate.num_bytes
        if size > max_bytes:
            break
        found.add(candidate.name)
    return found


def spine(newest_first: Sequence[RetentionCandidate]) -> list[RetentionCandidate]:
    """Return the checkpoints from which any file can be forgotten at little cost, newest first.

    Ages are counted in ended files. Of those with an age from 2^k to 2^(k+1), one stays for every 2^(k-1)
    files, the oldest of them: two for each doubling of the age, so 2 log2(n) after n files. Whatever the
    file, the newest of them before it is at most twice as old as the file itself.
    """
    numbered = [item for item in newest_first if item.ended_files is not None]
    if not numbered:
        return []
    newest = numbered[0].ended_files or 0
    oldest: dict[tuple[int, int], RetentionCandidate] = {}
    # All that fall into a stretch of files take part in it, whatever their own ages are
    for level in range(newest.bit_length() + 1):
        for item in numbered:
            oldest[level, (item.ended_files or 0) >> level] = item  # the last one seen is the oldest
    found = []
    for item in numbered:
        number = item.ended_files or 0
        level = max(0, max(1, newest - number).bit_length() - 2)
        if oldest[level, number >> level] is item:
            found.append(item)
    return found
