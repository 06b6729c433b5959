"""Which of the candidates go, in which order, so that enough is free. Pure: facts come in, acts go out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.disk.candidates import Candidate
from trainer.disk.links import Links
from trainer.protocol.disk import Act

HARMLESS = ("leftover", "version_trash", "queue_trash", "token_cache", "base_model")
"""Was thrown away, can be rebuilt, or is what nothing needs."""


def choose(
    candidates: Sequence[Candidate],
    *,
    lacking_bytes: int | None,
    least_bytes: int,
    device: int,
    name_of: Callable[[Path], str],
) -> list[Act]:
    """Return what to remove, in this order.

    Args:
        candidates: what may go; what goes first comes first.
        lacking_bytes: how much is to be freed; None for all that may be.
        least_bytes: take what cannot be rebuilt only if at least so much is freed.
        device: where space is wanted.
    """
    planner = _Planner(Links(device), name_of)
    for candidate in candidates:
        is_enough = lacking_bytes is not None and planner.freed >= lacking_bytes
        if not is_enough or candidate.kind in ("leftover", "version_trash"):
            planner.take(candidate)
    acts = planner.acts
    if planner.freed < least_bytes:
        acts = [act for act in acts if act.kind in HARMLESS and (act.after is None)]
    return acts


class _Planner:
    def __init__(self, links: Links, name_of: Callable[[Path], str]) -> None:
        self._links = links
        self._name_of = name_of
        self._waiting: list[Candidate] = []  # that free nothing before another is gone
        self.acts: list[Act] = []
        self.freed = 0

    def take(self, candidate: Candidate) -> None:
        """Remove a candidate if that frees something, together with those that waited for it."""
        identities = {file.identity for file in candidate.files}
        waiting = [other for other in self._waiting if identities & {file.identity for file in other.files}]
        group = [candidate, *waiting]
        freed = self._links.freed_by([item.files for item in group])
        if not sum(freed):
            if candidate.is_junk:
                self._add(candidate, 0, after=None)
            else:
                self._waiting.append(candidate)
            return
        self._add(candidate, freed[0], after=None)
        for other, num_bytes in zip(waiting, freed[1:], strict=True):
            if num_bytes:
                self._waiting.remove(other)
                self._add(other, num_bytes, after=self._name_of(candidate.path))

    def _add(self, candidate: Candidate, num_bytes: int, *, after: str | None) -> None:
        self._links.remove(candidate.files)
        self.freed += num_bytes
        name = self._name_of(candidate.path)
        self.acts.append(Act(kind=candidate.kind, path=name, frees_bytes=num_bytes, after=after))
