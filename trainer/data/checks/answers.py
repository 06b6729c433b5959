"""Find answers that nobody would want to train: empty, repetitive, wrongly decoded, or echoes. Pure.

Every rule has to hold for ordinary data, such as code, tables, lists and poems in any language, so each asks
for much: what it finds is worth reading.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq

from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.protocol.data_report import THINK_TAGS

LEAST_WORDS = 20  # of an answer that may be called repetitive; it is taken letter by letter if it has fewer
LEAST_LETTERS = 60
LOOKED_AT = 20_000  # characters from the beginning, which are enough to tell
LOOKED_AT_BY_LETTER = 1_000
LONGEST_UNIT = 20  # words, or letters, that come again and again
MOST_OF_IT = 0.6  # part of an answer that is repetition
LEAST_ECHO = 20  # characters; a shorter answer may well say what was said

# UTF-8 that was read as Latin-1 or Windows-1252, or bytes that had to be given up
MOJIBAKE = re.compile("\u00c3[\u0080-\u00bf\u0192\u201a-\u20ac]|\u00e2(?:\u20ac|\u0080)|\u00f0\u0178|"
                      "\u00ef\u00bb\u00bf|\u00c2[\u00a0-\u00bf]|\ufffd")  # fmt: skip
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")  # neither space nor line end


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn that is supervised, with the turn before it."""

    text: str
    prompt: str


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """A defect that an answer may have.

    Args:
        what: goes on after `12 of 1,000 rows`.
        limit: the share of rows up to which a file is ordinary.
    """

    name: str
    what: str
    limit: float
    is_broken_by: Callable[[Answer], bool]


def answers_of(conversation: Conversation) -> list[Answer]:
    """Return the turns of a conversation that are supervised, but for those that only call tools."""
    messages = conversation.messages
    if conversation.is_plain_text:
        return [Answer(message.content, "") for message in messages]
    before: Sequence[Message | None] = [None, *messages]
    return [
        Answer(message.content, earlier.content if earlier and earlier.role == "user" else "")
        for earlier, message in zip(before, messages, strict=False)
        if message.role == "assistant" and message.is_trained and not message.tool_calls
    ]


def has_thoughts(conversation: Conversation) -> bool:
    """Whether a supervised turn of the assistant has thoughts, in tags or under a key of their own."""
    return any(
        any(tag in message.content for tag in THINK_TAGS)
        or any(message.extra.get(key) for key in REASONING_KEYS)
        for message in conversation.messages
        if message.role == "assistant" and message.is_trained
    )


def is_empty(answer: Answer) -> bool:
    """Whether it says nothing."""
    return not answer.text.strip()


def is_repetitive(answer: Answer) -> bool:
    """Whether a few words, or letters where there are hardly any words, come again through most of it."""
    text = answer.text[:LOOKED_AT]
    words = text.split()
    if len(words) >= LEAST_WORDS:
        return _comes_again(words)
    return len(text) >= LEAST_LETTERS and _comes_again(text[:LOOKED_AT_BY_LETTER])


def has_mojibake(answer: Answer) -> bool:
    """Whether it was decoded wrongly somewhere on its way."""
    return not answer.text.isascii() and MOJIBAKE.search(answer.text) is not None


def has_control_characters(answer: Answer) -> bool:
    """Whether it holds characters that belong into no text, such as those that colour a terminal."""
    if answer.text.replace("\n", "").isprintable():  # much faster, and nearly always so
        return False
    return CONTROL.search(answer.text) is not None


def is_echo(answer: Answer) -> bool:
    """Whether it begins by repeating the whole prompt."""
    if len(answer.prompt) < LEAST_ECHO or len(answer.text) < len(answer.prompt) // 2:
        return False
    prompt = " ".join(answer.prompt.split()).casefold()
    # No text that starts with the prompt needs more of itself for it than this, but for lots of white space
    text = " ".join(answer.text[: 2 * len(answer.prompt)].split()).casefold()
    return len(prompt) >= LEAST_ECHO and text.startswith(prompt)


ANSWER_RULES = (
    AnswerRule("empty_answers", "have an empty answer", 0.01, is_empty),
    AnswerRule("repetitive_answers", "have an answer that mostly repeats itself", 0.01, is_repetitive),
    AnswerRule("mojibake", "have a wrongly decoded answer (such as \u00c3\u00a9)", 0.01, has_mojibake),
    AnswerRule("control_characters", "have control characters in an answer", 0.01, has_control_characters),
    AnswerRule("echoes", "have an answer that repeats the prompt", 0.01, is_echo),
)


def _comes_again(parts: Sequence[str]) -> bool:
    """Whether most parts are what stood a fixed distance before them."""
    # Whatever repeats itself has few different pairs of neighbours; that decides for nearly every answer
    if len(set(pairwise(parts))) > (1 - MOST_OF_IT) * len(parts) + LONGEST_UNIT:
        return False
    # Numbers and lines are told apart by their places: tables and grids repeat them for good reasons
    known = [part if any(map(str.isalpha, part)) else place for place, part in enumerate(parts)]
    wanted = MOST_OF_IT * len(known)
    return any(sum(map(eq, known, known[distance:])) >= wanted for distance in range(1, LONGEST_UNIT + 1))
