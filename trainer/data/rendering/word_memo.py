"""Token ids of words that were seen before, looked up instead of computed.

A byte-level tokenizer cuts a text at its special tokens, then into words by a regular expression, and then
looks at each word alone. Words are cut here as the tokenizer cuts them, and each new one is given to the
tokenizer's own model. A tokenizer that works in any other way, and a text that needs care, get no answer
rather than a wrong one.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

from tokenizers import Tokenizer, pre_tokenizers

from trainer.data.rendering.characters import ASCII, is_certain, of_unicode

WORDS_KEPT = 200_000  # about 40 MB
LONGEST_WORD_KEPT = 64  # characters
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # by which an added token is a special case

# How the families of GPT-2, Llama 3 and Qwen cut words
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
KNOWN_EXPRESSIONS = (CONTRACTIONS + r"\p{N}" + REST, CONTRACTIONS + r"\p{N}{1,3}" + REST)


class WordMemo(dict[str, tuple[int, ...]]):
    """Maps words to their token ids, and texts by means of them.

    Args:
        tokenizer: of the library tokenizers; one for which `find_expression` knows an answer.
        expression: cuts words.
    """

    def __init__(self, tokenizer: Tokenizer, expression: str) -> None:
        self._model = tokenizer.model
        self._to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        added = {str(token): number for number, token in tokenizer.get_added_tokens_decoder().items()}
        self._added = added
        longest_first = sorted(map(re.escape, added), key=len, reverse=True)
        self._cut_at_added = re.compile(f"({'|'.join(longest_first) or '(?!)'})")
        self._expression = expression
        self._words_of_ascii = re.compile(ASCII.in_place_of_classes(expression))
        self._words_of_unicode: re.Pattern[str] | None = None

    @classmethod
    def of(cls, tokenizer: object) -> Self | None:
        """Return a memo for a tokenizer of transformers; None when it is of a kind that is not known here."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        expression = find_expression(describe(backend))
        return cls(backend, expression) if expression else None

    def __missing__(self, word: str) -> tuple[int, ...]:
        token_ids = tuple(token.id for token in self._tokens(word))
        if len(self) >= WORDS_KEPT:
            self.clear()
        if len(word) <= LONGEST_WORD_KEPT:
            self[word] = token_ids
        return token_ids

    def encode(self, text: str, borders: Sequence[int]) -> tuple[list[int], list[int]] | None:
        """Return a text's token ids, and how many of them begin before each border; None if it needs care.

        Args:
            borders: numbers of characters, ascending.
        """
        if text.isascii():
            cut_words = self._words_of_ascii.findall
        elif is_certain(text):
            cut_words = self._unicode_words().findall
        else:
            return None
        token_ids: list[int] = []
        tokens_before: list[int] = []
        position = 0
        for i, part in enumerate(self._cut_at_added.split(text)):
            is_added = i % 2 == 1
            words = [] if is_added else cut_words(part)
            while len(tokens_before) < len(borders) and borders[len(tokens_before)] < position + len(part):
                offset = borders[len(tokens_before)] - position
                inside = min(offset, 1) if is_added else self._count_before(words, offset)
                tokens_before.append(len(token_ids) + inside)
            if is_added:
                token_ids.append(self._added[part])
            else:
                token_ids.extend(chain.from_iterable(map(self.__getitem__, words)))
            position += len(part)
        tokens_before += [len(token_ids)] * (len(borders) - len(tokens_before))
        return token_ids, tokens_before

    def _count_before(self, words: list[str], offset: int) -> int:
        """Return how many tokens of `words` begin before the character `offset`."""
        count = 0
        for word in words:
            if offset < len(word):
                return count + (bisect_left(self._starts(word), offset) if offset else 0)
            offset -= len(word)
            count += len(self[word])
        return count

    def _starts(self, word: str) -> list[int]:
        """Return the characters that the tokens of `word` begin in."""
        content, starts, num_bytes = word.encode(), [], 0
        for token in self._tokens(word):
            starts.append(len(content[:num_bytes].decode(errors="ignore")))
            num_bytes += len(token.value)  # one character stands for one byte
        return starts

    def _tokens(self, word: str) -> Any:
        [(as_bytes, _)] = self._to_bytes.pre_tokenize_str(word)
        return self._model.tokenize(as_bytes)

    def _unicode_words(self) -> re.Pattern[str]:
        if self._words_of_unicode is None:
            self._words_of_unicode = re.compile(of_unicode().in_place_of_classes(self._expression))
        return self._words_of_unicode


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what `tokenizer.json` says of how a tokenizer works, without the vocabulary.

    To write and read a large one would take most of a second.
    """
    model, parts = tokenizer.model, ("normalizer", "pre_tokenizer", "post_processor")
    return {
        "model": {"type": type(model).__name__, "dropout": getattr(model, "dropout", None)},
        "truncation": tokenizer.truncation,
        "padding": tokenizer.padding,
        "added_tokens": [
            {name: getattr(token, name) for name in ("content", *FLAGS)}
            for token in tokenizer.get_added_tokens_decoder().values()
        ],
        **{name: _as_written(getattr(tokenizer, name)) for name in parts},
    }


def _as_written(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())  # what is pickled is its JSON


def find_expression(described: dict[str, Any]) -> str | None:
    """Return by which regular expression a tokenizer cuts words; None unless all it does is known here.

    Args:
        described: as by `describe`, or the content of its `tokenizer.json`.
    """
    model, normalizer = described["model"], described["normalizer"]
    is_plain = (
        model["type"] == "BPE"
        and not model.get("dropout")
        and not described["truncation"]
        and not described["padding"]
        and normalizer in (None, {"type": "NFC"})
        and _moves_no_offsets(described["post_processor"])
        and not any(_is_special_case(token) for token in described["added_tokens"])
    )
    return _expression_of(described["pre_tokenizer"]) if is_plain else None


def _is_special_case(token: dict[str, Any]) -> bool:
    return not token["content"] or any(token[flag] for flag in FLAGS)


def _moves_no_offsets(post_processor: dict[str, Any] | None) -> bool:
    match post_processor:
        case None | {"type": "TemplateProcessing"} | {"type": "ByteLevel", "trim_offsets": False}:
            return True
        case {"type": "Sequence", "processors": parts}:
            return all(map(_moves_no_offsets, parts))
        case _:
            return False


def _expression_of(pre_tokenizer: dict[str, Any] | None) -> str | None:
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return GPT_2
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(known)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if known in KNOWN_EXPRESSIONS:
            return known
        case _:
            return None
