"""Go on after many prompts at once, each as the model goes on after it alone.

In a batch, sums are rounded in another order, which could turn a choice between two tokens that are as good
as equally likely. Such a row is given up, for its text to be generated alone; the others have choices that
rounding does not turn. So a text does not depend on which others are in its batch. Shapes: V = vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel

from trainer.evaluation.padded_batch import PaddedBatch
from trainer.evaluation.stop_strings import StopStrings
from trainer.protocol.messages import EndedBy


@dataclass(frozen=True)
class Prompt:
    """What to go on after.

    Args:
        max_new_tokens: tokens after which its text ends at the latest.
    """

    token_ids: list[int]
    max_new_tokens: int


@dataclass(frozen=True)
class Ends:
    """When a text ends of itself.

    Args:
        tokens: any of them ends it.
    """

    tokens: Sequence[int]
    strings: StopStrings

    def ended_by(self, new_tokens: list[int], *, max_new_tokens: int) -> EndedBy | None:
        """Return why a text ends with its newest token; None if it goes on."""
        if new_tokens[-1] in self.tokens or self.strings.are_seen_in(new_tokens):
            return "end"
        return "tokens" if len(new_tokens) >= max_new_tokens else None


@dataclass
class Continuation:
    """What comes after one prompt, as far as it is known.

    Args:
        ended_by: None while it goes on.
        is_doubtful: whether rounding could turn its next token, so that it has to be generated alone.
    """

    prompt: Prompt
    processors: LogitsProcessorList
    new_tokens: list[int] = field(default_factory=list)
    ended_by: EndedBy | None = None
    is_doubtful: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it has another token."""
        return self.ended_by is None and not self.is_doubtful

    def choose_from(self, scores: Tensor) -> Tensor:
        """Return scores (V,) as the processors leave them."""
        if not self.processors:
            return scores
        token_ids = torch.tensor([self.prompt.token_ids + self.new_tokens], device=scores.device)
        processed: Any = self.processors(token_ids, scores[None])  # type: ignore[arg-type]  # it takes any integers
        return processed[0]  # type: ignore[no-any-return]


def go_on_together(
    model: PreTrainedModel,
    continuations: Sequence[Continuation],
    ends: Ends,
    *,
    tolerance: float,
    may_go_on: Callable[[], bool],
) -> None:
    """Add tokens to all continuations, until each of them has ended or is doubtful.

    Args:
        tolerance: as `tolerance_of` returns it.
        may_go_on: asked before the first and after every token; all end by "time" if not.
    """
    if not may_go_on():
        _cut(continuations)
        return
    batch = PaddedBatch(
        model,
        [one.prompt.token_ids for one in continuations],
        most_new=max(one.prompt.max_new_tokens for one in continuations),
    )
    going = list(continuations)
    while going:
        tokens, are_certain = _likeliest(batch.logits(), going, tolerance)
        for one, token, is_certain in zip(going, tokens, are_certain, strict=True):
            if not is_certain:
                one.is_doubtful = True
                continue
            one.new_tokens.append(token)
            one.ended_by = ends.ended_by(one.new_tokens, max_new_tokens=one.prompt.max_new_tokens)
        kept = places_without_gaps([one.goes_on for one in going])
        going = [going[place] for place in kept]
        if not may_go_on():
            _cut(continuations)
            return
        if going:
            batch.go_on([one.new_tokens[-1] for one in going], kept=kept)


def _cut(continuations: Sequence[Continuation]) -> None:
    for one in continuations:
        if one.goes_on:
            one.ended_by = "time"


def places_without_gaps(goes_on: Sequence[bool]) -> list[int]:
    """Return the places of rows that go on, where the last ones fill the gaps: so few of them move."""
    kept = [place for place, goes in enumerate(goes_on) if goes]
    last = [place for place in kept if place >= len(kept)]
    return [place if goes_on[place] else last.pop() for place in range(len(kept))]


def _likeliest(
    logits: Tensor, rows: Sequence[Continuation], tolerance: float
) -> tuple[list[int], list[bool]]:
    """Return of each row its likeliest token, and whether no rounding could make another one that."""
    scores = logits.float()
    largest = scores.masked_fill(scores.isinf(), 0.0).abs().amax(dim=-1)
    if any(row.processors for row in rows):
        scores = torch.stack([row.choose_from(of_row) for row, of_row in zip(rows, scores, strict=True)])
    best = scores.topk(2, dim=-1)
    lead = best.values[:, 0] - best.values[:, 1]
    tokens: list[int] = best.indices[:, 0].tolist()
    are_certain: list[bool] = (lead > tolerance * largest).tolist()  # not if it is no number, either
    return tokens, are_certain


def batches_of(prompts: Sequence[Prompt], *, max_tokens: int) -> Iterator[list[int]]:
    """Yield the places of prompts that go together: those of similar length, the longest first.

    Args:
        max_tokens: of all texts of a batch, padding included, at their longest. A longer one goes alone.
    """
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].token_ids))
    batch: list[int] = []
    for place in order:
        longer = [*batch, place]
        longest_new = max(prompts[one].max_new_tokens for one in longer)
        if batch and len(longer) * (len(prompts[batch[0]].token_ids) + longest_new) > max_tokens:
            yield batch
            longer = [place]
        batch = longer
    if batch:
        yield batch
