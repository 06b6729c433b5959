"""What rows have in common, from a few bytes of each: a hash for equal ones, a MinHash for similar ones.

A signature stands for the set of all runs of a few words (shingles) in a row. The share of places in which
two signatures agree is about the share of shingles that the sets have in common (MinHash: Broder, "On the
Resemblance and Containment of Documents", 1997), and eight bits of each place are enough to tell (Li and
König, "b-Bit Minwise Hashing", 2010). Signatures are kept on disk, so a row must have the same for ever: a
change needs another `row_table.VERSION`.

Rows made from one pattern share nearly all of their shingles, and yet each says something else: "12 + 7 is
19", "13 + 7 is 20". So signatures are salted with what near rows must have in common to the letter.

Shapes: W = words of a row, S = its shingles, P = places of a signature.
"""

import hashlib
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow, RowFile
from trainer.protocol.row_fields import NO_FIELDS, Fields

PLACES = 128
SHINGLE_WORDS = 5
SHORT_SHINGLE_WORDS = 3
SHORT_ROW_WORDS = 50  # below it one changed word would touch too many of the longer shingles
NEAR = 0.8
"""Share of their shingles that two rows have in common to be near duplicates."""

SHORT_ANSWER_WORDS = 20  # so short an answer is another one if any word of it is
NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
END_OF_SENTENCE = " .!?"
OPENING, CLOSING = "([{<\"'«“„", ")]}>\"'»”“.,;:!?"  # what may stand around a number and is none of it
SIGNS = "-*/^%"  # beside those that Unicode calls mathematical

AT_ONCE = 1024  # shingles; their products with all places then fit into a processor's cache
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: spreads all bits
AGREE_BY_CHANCE = 1 / 256  # eight bits of different shingles

# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese
UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)

Numbered = tuple[int, Conversation]
"""A row's line, counted from 1, and what it says."""


class RowMinHash(NamedTuple):
    """What is kept of one row."""

    line: int
    identity: int
    """Equal for rows that say the same but for spaces and case."""
    signature: bytes
    """Empty where there are no words to compare."""


def readable(
    rows: RowFile,
    fields: Fields = NO_FIELDS,
    *,
    is_bad: Callable[[int, BadRow], object] = lambda line, error: None,
) -> Iterator[Numbered]:
    """Yield the rows of a file that can be read; `is_bad` hears of the others."""
    for position in range(len(rows)):
        line = rows.line_number(position)
        try:
            yield line, read_conversation(rows.read(position), fields)
        except BadRow as error:
            is_bad(line, error)


def minhash_rows(numbered: Iterable[Numbered]) -> Iterator[RowMinHash]:
    """Yield what is kept of each row."""
    return (minhash_row(line, conversation) for line, conversation in numbered)


def minhash_row(line: int, conversation: Conversation, *, must_answer_same: bool = False) -> RowMinHash:
    """Return what is kept of a row.

    Args:
        must_answer_same: let it be near only to rows with the same answers, however long these are, the same
            thoughts and tools, and the same numbers, signs and powers in every turn; and equal to no other.
    """
    turns = [(message.role, normalised(said_in(message))) for message in conversation.messages]
    said_as = [f"{role}\x1f{text}" for role, text in turns]
    strict = []
    if must_answer_same:
        said_as.append(_beside_words(conversation))
        strict = [*_quantities(turns), said_as[-1]]
    identity = hashlib.blake2b("\x1e".join(said_as).encode(), digest_size=8)
    # Without the system prompt, which is often longer than all else and the same in every row of a file
    said = [(role, text) for role, text in turns if role != "system"]
    signature = _signature(" ".join(f"\x1f{role} {text}" for role, text in said))
    longest = None if must_answer_same else SHORT_ANSWER_WORDS
    exact = _exact_parts(said, longest=0 if conversation.is_plain_text else longest)
    salted = _salted(signature, "\x1e".join([exact, *strict]))
    return RowMinHash(line, int.from_bytes(identity.digest(), "little", signed=True), salted)


def _exact_parts(turns: Sequence[tuple[str, str]], *, longest: int | None) -> str:
    """Return what near rows have in common to the letter: their numbers, and their answers.

    Args:
        longest: words of an answer that is among them; None for any number.
    """
    numbers = [number for _, text in turns for number in NUMBER.findall(text)]
    answers = [text.rstrip(END_OF_SENTENCE) for role, text in turns if role == "assistant"]
    short = [text for text in answers if longest is None or len(_words(text)) <= longest]
    return "\x1e".join(["\x1f".join(numbers), *short]) if numbers or short else ""


def _quantities(turns: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words with a number in them, such as -5, 1e-5, x² or ½, and the signs between numbers."""
    words = (word for _, text in turns for word in _spaced(text).split())
    return [word.lstrip(OPENING).rstrip(CLOSING) or word for word in words if _may_count(word)]


def _may_count(word: str) -> bool:
    if word.isascii() and word.isalpha():  # most words
        return False
    return any(map(str.isnumeric, word)) or all(map(_is_sign, word))


def _is_sign(char: str) -> bool:
    return char in SIGNS or unicodedata.category(char) == "Sm"


def _beside_words(conversation: Conversation) -> str:
    """Return what a row says beside the words of its turns, such as thoughts, names and tools."""
    turns = [(turn.extra, turn.is_trained) for turn in conversation.messages]
    beside = (conversation.is_plain_text, conversation.tools, turns)
    return json.dumps(beside, ensure_ascii=False, sort_keys=True, default=dict)


def _salted(signature: bytes, exact: str) -> bytes:
    """Return a signature that agrees only by chance with those of rows whose exact parts are others."""
    if not signature or not exact:
        return signature
    salt = hashlib.shake_256(exact.encode()).digest(PLACES)
    return bytes(place ^ other for place, other in zip(signature, salt, strict=True))


def said_in(message: Message) -> str:
    """Return the text of a turn, with the calls of tools in it."""
    if not message.tool_calls:
        return message.content
    return f"{message.content} {as_text(message.tool_calls)}"


def as_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Return JSON values as one text, which is the same for equal ones."""
    return json.dumps(calls, ensure_ascii=False, sort_keys=True)


def normalised(text: str) -> str:
    """Return `text` with one space between words, and without differences of case."""
    return " ".join(text.casefold().split())


def similarity(one: bytes, other: bytes) -> float:
    """Return the share of their shingles that two rows have in common, as their signatures tell."""
    agreeing: float = sum(map(eq, one, other)) / PLACES
    return max(0.0, (agreeing - AGREE_BY_CHANCE) / (1 - AGREE_BY_CHANCE))


def _signature(text: str) -> bytes:
    words = _words(text)
    if not any(not word.startswith(b"\x1f") for word in words):
        return b""
    least = np.full(PLACES, np.iinfo(np.uint32).max, dtype=np.uint32)
    shingles = _shingles(np.fromiter(map(zlib.crc32, words), np.uint64, len(words)))
    for start in range(0, len(shingles), AT_ONCE):
        hashes = FACTORS * shingles[start : start + AT_ONCE]  # (P, S)
        hashes += ADDENDS
        np.minimum(least, hashes.min(axis=1), out=least)
    return least.astype(np.uint8).tobytes()


def _words(text: str) -> list[bytes]:
    # As bytes, which the marks of the roles do not separate
    return _spaced(text).encode().split()


def _spaced(text: str) -> str:
    return text if text.isascii() else UNSPACED.sub(r" \1 ", text)


def _shingles(words: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return a hash (S,) of each run of words (W,) that follow each other."""
    length = SHORT_SHINGLE_WORDS if len(words) < SHORT_ROW_WORDS else SHINGLE_WORDS
    length = min(length, len(words))
    count = len(words) - length + 1
    hashes = words[:count].copy()
    for offset in range(1, length):
        hashes = _scramble(hashes) + words[offset : offset + count]
    return (_scramble(hashes) >> np.uint64(32)).astype(np.uint32)


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values * MULTIPLIER
    return (values ^ (values >> np.uint64(29))) * MULTIPLIER


def _constants(name: str) -> NDArray[np.uint32]:
    """Return numbers (P, 1) that depend on `name` alone: a library's generator may change some day."""
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(4 * PLACES), dtype="<u4")[:, np.newaxis]


# Each place has a permutation of the hashes of its own: multiplied by an odd number, modulo 2^32
FACTORS = _constants("minhash factors") | np.uint32(1)
ADDENDS = _constants("minhash addends")
