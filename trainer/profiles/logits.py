"""Penalties that steer generation for previews; training never sees them.

They follow the protocol of `generate` in transformers, and use only methods of the tensors they get, so that
profiles are loaded where there is no torch.   Shapes: B = texts, T = tokens so far, V = vocabulary.
"""

import re
from collections.abc import Sequence
from typing import Any

THINK_PENALTY = 80.0
THINK_SCHEDULE = ((4, 8.0), (8, 2.0), (12, 1.5))
"""Below so many generated tokens, the penalty is so many times as large."""
STOP_PENALTY, STOP_RATE = 100.0, 10.0
MOST_STEPS = 7  # of growth; the penalty is beyond any score then, and would soon be infinite
REWARD = 50.0  # of ending, once the stop emojis are there
ENDS_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")  # where it is not the tokenizer's own
TAIL = 48  # tokens that are read: five emojis of up to seven bytes, and the character after them
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # how tokenizers show a character of which bytes are missing


class ThinkTagPenalty:
    """Makes thinking tags improbable, most of all at the start.

    Args:
        tokenizer: of the model; tags that are not one token in its vocabulary are left alone, because their
            parts are parts of other words, too.
    """

    def __init__(self, tokenizer: Any, *, tags: Sequence[str]) -> None:
        self._ids = ids_of(tokenizer, tags)
        self._num_generated = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores (B, V) with the penalty on the tags, given token ids (B, T)."""
        factor = next((factor for end, factor in THINK_SCHEDULE if self._num_generated < end), 1.0)
        self._num_generated += 1
        scores = scores.clone()
        scores[:, self._ids] -= THINK_PENALTY * factor
        return scores


class PostStopPenalty:
    """Has a text end once it holds its stop emojis.

    The model decides how many: a count is final when something else follows, or when it is the highest.
    From then on all tokens lose 100 times 10 to the number of tokens since, but for those that end the turn.

    Args:
        tokenizer: of the model.
        counts: how often in a row one of `emojis` stands at the end.
    """

    def __init__(self, tokenizer: Any, *, emojis: Sequence[str], counts: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        longest_first = sorted(map(re.escape, emojis), key=len, reverse=True)
        again = f"{{{min(counts) - 1},{max(counts) - 1}}}"
        self._run = re.compile(rf"({'|'.join(longest_first)})\1{again}")
        self._most = max(counts)
        self._ends = ends_of_turn(tokenizer)
        self._prompt_length: int | None = None
        self._tokens_after_stop: dict[int, int] = {}
        """Of each text that has reached its stop emojis, by its number."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores (B, V) with the penalty on texts that should end, given token ids (B, T)."""
        length = input_ids.shape[1]
        if self._prompt_length is None:
            self._prompt_length = length  # what is asked names stop emojis, too
        scores = scores.clone()
        for row in range(input_ids.shape[0]):
            tail = input_ids[row, max(self._prompt_length, length - TAIL) :].tolist()
            if row in self._tokens_after_stop or self._has_stopped(tail):
                self._tokens_after_stop[row] = self._tokens_after_stop.get(row, 0) + 1
                self._push_to_end(scores[row], self._tokens_after_stop[row])
        return scores

    def _has_stopped(self, tail: list[int]) -> bool:
        text = self._tokenizer.decode(tail, skip_special_tokens=True)
        if (found := self._run.search(text)) is None:
            return False
        emoji, rest = found[1], text[found.end() :].rstrip(INCOMPLETE)
        # Its first part may be there already, as of one with a variation selector
        is_open = emoji.startswith(rest)
        return not is_open or len(found[0]) == self._most * len(emoji)

    def _push_to_end(self, scores: Any, num_tokens: int) -> None:
        """Change the scores (V,) of one text in place."""
        ends = scores[self._ends] + REWARD
        scores -= STOP_PENALTY * STOP_RATE ** min(num_tokens, MOST_STEPS)
        scores[self._ends] = ends


def ends_of_turn(tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a turn."""
    return sorted({*ids_of(tokenizer, ENDS_OF_TURN), tokenizer.eos_token_id} - {None})


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the ids of those texts that are tokens."""
    ids = [tokenizer.convert_tokens_to_ids(text) for text in texts]
    return [number for number in ids if number not in (None, tokenizer.unk_token_id)]
