"""From text with stretches of characters to token ids with stretches of tokens."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

from tokenizers import Tokenizer as FastTokenizer

from trainer.data.rendering.chat_template import Tokenizer
from trainer.data.rendering.example import Span
from trainer.data.rendering.masks import RenderedText
from trainer.data.rendering.word_memo import WordMemo


class Encodings(Protocol):
    """What a fast tokenizer returns for several texts."""

    input_ids: list[list[int]]

    def char_to_token(self, batch_or_char_index: int, char_index: int) -> int | None: ...

    def token_to_chars(self, batch_or_token_index: int, token_index: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as tokens, however many."""

    ids: list[int]
    spans: list[Span]
    """Of tokens that are supervised."""


class TextTokenizer:
    """Tokenizes texts, those that need no care by looking words up.

    Args:
        memo: of the tokenizer's words; None to ask the tokenizer each time.
    """

    def __init__(self, tokenizer: Tokenizer, memo: WordMemo | None) -> None:
        self._tokenizer = tokenizer
        self._memo = memo
        self._added = frozenset(getattr(tokenizer, "added_tokens_decoder", {}))
        self._letters: dict[str, list[int]] = {}  # of control tokens

    def tokenize(
        self, rendered: Sequence[RenderedText], quotes: Mapping[int, Sequence[int]] = MappingProxyType({})
    ) -> list[Tokens]:
        """Return the tokens of texts. A token is supervised if it begins within a stretch that is.

        Args:
            quotes: by the number of a text, the characters at which control tokens stand that are only text.
        """
        found = [
            None if i in quotes else self._from_memo(text, spans) for i, (text, spans) in enumerate(rendered)
        ]
        missing = [i for i, tokens in enumerate(found) if tokens is None]
        others = self._tokenized([rendered[i] for i in missing], [quotes.get(i, ()) for i in missing])
        remaining = iter(others)
        return [tokens or next(remaining) for tokens in found]

    def _from_memo(self, text: str, spans: list[Span]) -> Tokens | None:
        borders = [border for span in spans for border in span]
        if self._memo is None or borders != sorted(borders):
            return None
        found = self._memo.encode(text, borders)
        if found is None:
            return None
        ids, counts = found
        return Tokens(ids, list(zip(counts[::2], counts[1::2], strict=True)))

    def _tokenized(self, rendered: Sequence[RenderedText], quotes: Sequence[Sequence[int]]) -> list[Tokens]:
        """Ask the tokenizer, for all together because that is how tokenizers are fast."""
        if not rendered:
            return []
        encodings = self._tokenizer([text for text, _ in rendered], add_special_tokens=False)
        return [
            self._with_quotes_as_text(
                Tokens(encodings.input_ids[i], _token_spans(encodings, i, spans)), encodings, i, text, quoted
            )
            for i, ((text, spans), quoted) in enumerate(zip(rendered, quotes, strict=True))
        ]

    def _with_quotes_as_text(
        self, tokens: Tokens, encodings: Encodings, row: int, text: str, quoted: Sequence[int]
    ) -> Tokens:
        """Replace each quoted control token by the tokens that its letters have."""
        if not quoted:
            return tokens
        quoted = sorted(quoted)
        letters_of: dict[int, list[int]] = {}
        # From tokens to characters: the other way, a tokenizer passes over all tokens before one, each time
        for place, token_id in enumerate(tokens.ids):
            if token_id in self._added:
                span = encodings.token_to_chars(row, place)
                nearest = bisect_left(quoted, span.start)
                if nearest < len(quoted) and quoted[nearest] < span.end:
                    letters_of[place] = self._as_letters(text[span.start : span.end], token_id)
        ids: list[int] = []
        moved = []  # old place -> new one
        for place, token_id in enumerate(tokens.ids):
            moved.append(len(ids))
            ids += letters_of.get(place, [token_id])
        moved.append(len(ids))
        return Tokens(ids, [(moved[first], moved[end]) for first, end in tokens.spans])

    def _as_letters(self, quoted: str, token_id: int) -> list[int]:
        """Return the tokens of a control token's letters; its own where the tokenizer knows no others."""
        if quoted not in self._letters:
            self._letters[quoted] = self._tokens_of_letters(quoted, token_id)
        return self._letters[quoted]

    @cached_property
    def _with_all_special(self) -> FastTokenizer | None:
        """A copy of the tokenizer that calls every added token special: only such can be split."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, FastTokenizer):
            return None
        described = json.loads(backend.to_str())
        for token in described["added_tokens"]:
            token["special"] = True
        copy = FastTokenizer.from_str(json.dumps(described))
        copy.encode_special_tokens = True
        return copy

    def _tokens_of_letters(self, quoted: str, token_id: int) -> list[int]:
        [letters] = self._tokenizer([quoted], add_special_tokens=False, split_special_tokens=True).input_ids
        if letters == [token_id] and (backend := self._with_all_special):
            letters = backend.encode(quoted, add_special_tokens=False).ids
        is_exact = self._tokenizer.decode(letters) == quoted
        return list(letters) if is_exact and token_id not in letters else [token_id]


def _token_spans(encodings: Encodings, row: int, spans: list[Span]) -> list[Span]:
    """Turn spans of characters into spans of tokens.

    A token belongs to the span that it begins in.
    """
    token_spans = []
    for start, end in spans:
        first = _first_token(encodings, row, range(start, end))
        last = _first_token(encodings, row, range(end - 1, start - 1, -1))
        if first is None or last is None:
            continue
        if start > 0 and encodings.char_to_token(row, start - 1) == first:
            first += 1
        # A token of nothing but spaces may have been left without characters, and was not found by any
        while first > 0 and encodings.token_to_chars(row, first - 1).start > start:
            first -= 1
        # A character may take several tokens, an emoji for example, and only the first of them was found
        while (chars := encodings.token_to_chars(row, last + 1)) is not None and chars.start < end:
            last += 1
        token_spans.append((first, last + 1))
    return token_spans


def _first_token(encodings: Encodings, row: int, places: Iterable[int]) -> int | None:
    """Return the token of the first character that has one; spaces before a word may have none."""
    tokens = (encodings.char_to_token(row, place) for place in places)
    return next((token for token in tokens if token is not None), None)
