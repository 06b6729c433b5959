"""What happens to a row with more tokens than an example may have.

Turns are kept or left out whole, because half a question has no answer. What is kept begins with a turn of
the user, and system messages at the head of the row stay before it.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from trainer.data.conversation import Conversation
from trainer.data.rendering.example import Example, example_of
from trainer.data.rendering.tokens import Tokens

Overlong = Literal["truncate_left_turns", "truncate_right", "split", "drop", "fail"]

Tokenize = Callable[[Conversation], Tokens]

FEW_PLACES = 16


class OverlongRow(ValueError):
    """A row is too long, and such rows are not to be trained."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a row that becomes one example."""

    conversation: Conversation
    turns: tuple[int, ...]
    """Which turns of the row these are."""
    tokens: Tokens
    first_token: int = 0
    """Which of the row's tokens is the first, in a text that was split."""
    lacks_turns: bool = False
    """Whether other turns of the row are in no piece."""

    def example(self, max_length: int) -> Example:
        """Return as much as fits."""
        is_cut = len(self.tokens.ids) > max_length
        return example_of(
            self.tokens.ids[:max_length], self.tokens.spans, is_truncated=self.lacks_turns or is_cut
        )


def whole(conversation: Conversation, tokens: Tokens) -> Piece:
    """Return a row in one piece."""
    return Piece(conversation, tuple(range(len(conversation.messages))), tokens)


def pieces_of(row: Piece, *, max_length: int, overlong: Overlong, tokenize: Tokenize) -> list[Piece]:
    """Return what is kept of a row that is too long.

    Raises:
        OverlongRow: nothing may be left out.
    """
    match overlong:
        case "fail":
            raise OverlongRow(
                f'the row has {len(row.tokens.ids)} tokens, and data.overlong is "fail"; expected at most '
                f"{max_length} (data.max_length); shorten the row, or set data.overlong to another value"
            )
        case "drop":
            return []
        case "split" if row.conversation.is_plain_text:
            starts = range(0, len(row.tokens.ids), max_length)
            return [_slice(row, range(first, first + max_length)) for first in starts]
        case "split":
            return _parts(row, max_length, tokenize)
        case "truncate_left_turns" if not row.conversation.is_plain_text:
            return [_last_turns(row, max_length, tokenize)]
        case _:
            return [row]


def _last_turns(row: Piece, max_length: int, tokenize: Tokenize) -> Piece:
    """Leave out the earliest turns, as few as are enough, but never what the last answer answers."""
    messages = row.conversation.messages
    answers = [i for i, message in enumerate(messages) if message.role == "assistant" and message.is_trained]
    starts = [start for start in _starts(row.conversation) if answers and start < answers[-1]]
    if not starts:
        return row
    head = _head(row.conversation)
    known: dict[int, Piece] = {}

    def fits(place: int) -> bool:
        turns = (*head, *range(starts[place], len(messages)))
        rest = replace(row.conversation, messages=tuple(messages[i] for i in turns))
        known[place] = Piece(rest, turns, tokenize(rest), lacks_turns=True)
        return len(known[place].tokens.ids) <= max_length

    found = _first_that_fits(len(starts), fits)
    if found not in known:
        fits(found)
    return known[found]


def _first_that_fits(number: int, fits: Callable[[int], bool]) -> int:
    """Return the first of so many places where a row fits, or the last one.

    Of many places most leave far too much, and take long to try: they are approached from the end.
    """
    low, high, step = 0, number - 1, 1
    while number > FEW_PLACES and (place := high - step) >= 0:
        if not fits(place):
            low = place + 1
            break
        high, step = place, 2 * step
    return low + bisect_left(range(low, high), True, key=fits)


def _parts(row: Piece, max_length: int, tokenize: Tokenize) -> list[Piece]:
    """Cut a conversation between exchanges, so that each part has as many as fit, and at least one."""
    head = _head(row.conversation)
    parts: list[Piece] = []
    begin = len(head)
    for start, end in pairwise([begin, *_starts(row.conversation), len(row.turns)]):
        if start > begin:
            longer = _part(row, head, range(begin, end), tokenize)
            if len(longer.tokens.ids) <= max_length:
                parts[-1] = longer
                continue
        begin = start
        parts.append(_part(row, head, range(begin, end), tokenize))
    return parts


def _part(row: Piece, head: range, turns: range, tokenize: Tokenize) -> Piece:
    """Return some turns of a row behind its head, which is supervised once at most."""
    messages = row.conversation.messages
    is_first = turns.start == len(head)
    kept_head = [messages[i] if is_first else replace(messages[i], is_trained=False) for i in head]
    conversation = replace(row.conversation, messages=(*kept_head, *(messages[i] for i in turns)))
    return Piece(conversation, (*head, *turns), tokenize(conversation))


def _slice(row: Piece, tokens: range) -> Piece:
    """Return some tokens of a text."""
    spans = [(max(first - tokens.start, 0), end - tokens.start) for first, end in row.tokens.spans]
    kept = Tokens(row.tokens.ids[tokens.start : tokens.stop], [span for span in spans if span[1] > 0])
    return Piece(row.conversation, row.turns, kept, first_token=tokens.start)


def _starts(conversation: Conversation) -> list[int]:
    """Return the turns that what is kept may begin with, but for the first one after the head."""
    messages = conversation.messages
    return [
        i
        for i in range(len(_head(conversation)) + 1, len(messages))
        if messages[i].role == "user" != messages[i - 1].role
    ]


def _head(conversation: Conversation) -> range:
    """Return the system messages that a conversation begins with."""
    roles = [message.role for message in conversation.messages]
    return range(next((i for i, role in enumerate(roles) if role != "system"), len(roles)))
