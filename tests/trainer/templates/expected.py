"""What should become of a row, told from the parts that a family says. Nothing of the product takes part."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.trainer.templates.families import Family, Part, Refused
from tests.trainer.templates.tokenizers_of_families import MARKERS, TOKENIZERS
from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.render import UnrenderableConversation, UnusableTemplate

PROBE = "zq"
PRETENDED = "\ue000"  # in the place of a letter of somebody's words
SPACES = re.compile(r" +(?=[^ ])")


@dataclass(frozen=True)
class Expected:
    """A whole text: its tokens, and which are learned."""

    ids: list[int]
    labels: list[int]

    def cut(self, max_length: int) -> "Expected":
        return Expected(self.ids[:max_length], self.labels[:max_length])

    @property
    def has_target(self) -> bool:
        return any(label != IGNORED for label in self.labels[1:])


class Refusal(Exception):
    """The row has to be refused.

    Args:
        kinds: the errors of which any may say so, as there may be more than one reason.
    """

    def __init__(self, kinds: set[type[Exception]]) -> None:
        super().__init__(kinds)
        self.kinds = kinds


# ---- parts and texts


_parts: dict[tuple[str, str], list[Part] | None] = {}
_expected: dict[tuple[str, str, str], Expected | Refusal] = {}


def parts_of(family: Family, messages: Sequence[Message], tools: Any) -> list[Part]:
    key = (family.name, repr((messages, tools)))
    if key not in _parts:
        try:
            conversation = Conversation(tuple(messages), tools=tools)
            _parts[key] = list(family.parts(conversation)) if messages else []
        except Refused:
            _parts[key] = None
    if (found := _parts[key]) is None:
        raise Refused
    return found


def joined(parts: Sequence[Part], *, closed: bool = True) -> str:
    return "".join(part.text for part in parts if not part.is_added and (closed or not part.closes))


def learned_turns(conversation: Conversation, train_on: str) -> list[int]:
    messages = conversation.messages
    turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
    if train_on == "last_assistant":
        turns = turns[-1:]
    return [i for i in turns if messages[i].is_trained]


# ---- what is lost


def squeezed(text: str) -> str:
    return "".join(text.split())


def leaves(value: Any) -> Iterator[str]:
    match value:
        case Mapping():
            for key, item in value.items():
                yield key
                yield from leaves(item)
        case list():
            for item in value:
                yield from leaves(item)
        case bool() | None:
            return
        case _:
            yield str(value)


def given(message: Message) -> Iterator[tuple[str, str]]:
    """Yield whatever a turn gives, each with its name."""
    words = "tool result" if message.role == "tool" else "words"
    yield words, message.content
    for key in REASONING_KEYS:
        yield "reasoning", message.extra.get(key, "")
    for call in message.tool_calls:
        for leaf in [call["function"]["name"], *leaves(call["function"]["arguments"])]:
            yield "tool_calls", leaf


def lost_parts(family: Family, conversation: Conversation) -> list[tuple[str, int | None]]:
    """Return what the family does not show in the turn that says it; the system may be heard anywhere."""
    parts = parts_of(family, conversation.messages, conversation.tools)
    lost: list[tuple[str, int | None]] = []
    if any(len(tool["function"]) > 2 for tool in conversation.tools) and not family.shows_schema:
        lost.append(("schema of the tools", None))
    for i, message in enumerate(conversation.messages):
        own = [part for part in parts if part.turn == i or message.role == "system"]
        shown = squeezed("".join(part.text for part in own))
        for what, words in given(message):
            forms = {squeezed(words), squeezed(json.dumps(words.strip(), ensure_ascii=False)[1:-1])}
            if not any(form in shown for form in forms):
                lost.append((what, i))
    return list(dict.fromkeys(lost))


def context_lost(family: Family, conversation: Conversation, train_on: str) -> set[str]:
    """Return in words what is lost, but is not learned."""
    trained = trained_turns(conversation, train_on)
    return {
        f"the {what}" if turn is None else f"the {what} of messages[{turn}]"
        for what, turn in lost_parts(family, conversation)
        if turn not in trained
    }


def trained_turns(conversation: Conversation, train_on: str) -> list[int]:
    if train_on == "all":
        return [i for i, message in enumerate(conversation.messages) if message.is_trained]
    return learned_turns(conversation, train_on)


# ---- what cannot be told


def is_asked_for(family: Family, conversation: Conversation, i: int, whole: str) -> bool:
    """Return whether the text has a turn behind a prompt for it, as it stood when nothing followed."""
    messages, tools = conversation.messages, conversation.tools
    through = joined(parts_of(family, messages[: i + 1], tools), closed=False)
    if not whole.startswith(through):
        return False
    return not i or whole.startswith(prompt(family, conversation, i))


def prompt(family: Family, conversation: Conversation, i: int) -> str:
    before = replace(conversation, messages=conversation.messages[:i])
    asks = family.asks(before) if family.asks else ""
    return joined(parts_of(family, before.messages, before.tools), closed=False) + asks


def begins_with_its_words(parts: Sequence[Part], i: int, message: Message) -> bool:
    """Return whether the model produces nothing before the words of a turn but what belongs to the row."""
    produced = squeezed("".join(part.text for part in parts if part.turn == i and part.is_produced))
    words = squeezed(message.content)
    thoughts = [squeezed(str(message.extra[key])) for key in REASONING_KEYS if message.extra.get(key)]
    has_marks = bool(message.tool_calls) or any(thought in produced for thought in thoughts)
    return produced.startswith(words) or (has_marks and words in produced)


def adds_nothing(family: Family, conversation: Conversation, i: int) -> bool:
    """Return whether an answer of a word alone, in the place of turn `i`, begins with the word."""
    message = conversation.messages[i]
    has_words_alone = bool(message.content.strip()) and not message.tool_calls
    if has_words_alone or any(message.extra.get(key) for key in REASONING_KEYS):
        return True
    probe = Message("assistant", PROBE)
    parts = parts_of(family, (*conversation.messages[:i], probe), conversation.tools)
    is_continued = not i or joined(parts).startswith(prompt(family, conversation, i))
    return not is_continued or begins_with_its_words(parts, i, probe)


def has_end(family: Family, parts: Sequence[Part], i: int) -> bool:
    produced = "".join(part.text for part in parts if counts(part, [i]))
    return produced.rstrip().endswith(family.ends_of_turns)


def counts(part: Part, learned: Sequence[int]) -> bool:
    return (part.is_produced and part.turn in learned) or part.ends in learned


def reasons(family: Family, conversation: Conversation, train_on: str) -> set[type[Exception]]:
    """Return every error that could say why a row is refused; none if it is not."""
    found: set[type[Exception]] = set()
    parts = parts_of(family, conversation.messages, conversation.tools)
    whole = joined(parts)
    trained = trained_turns(conversation, train_on)
    if conversation.tools and not family.shows_tools:
        found.add(UnrenderableConversation)
    lost = lost_parts(family, conversation)
    if any(what == "tool_calls" or turn in trained for what, turn in lost):
        found.add(UnrenderableConversation)
    messages, tools = conversation.messages, conversation.tools
    if train_on == "all":
        for i, message in enumerate(messages):
            if not message.is_trained:
                ends = [joined(parts_of(family, messages[:n], tools), closed=False) for n in (i, i + 1)]
                own = squeezed("".join(part.text for part in parts if part.turn == i))
                if not all(map(whole.startswith, ends)) or squeezed(message.content) not in own:
                    found.add(UnusableTemplate)
        return found
    for i in trained:
        begins_well = begins_with_its_words(parts, i, messages[i]) and adds_nothing(family, conversation, i)
        is_told = is_asked_for(family, conversation, i, whole) and has_end(family, parts, i)
        if not is_told or (i and not begins_well):
            found.add(UnusableTemplate)
    return found


# ---- what is expected


def expect(family: Family, conversation: Conversation, train_on: str) -> Expected:
    """Return what the family's text and mask should be.

    Raises:
        Refusal: it has to be refused.
    """
    key = (family.name, repr(conversation), train_on)
    if key not in _expected:
        try:
            refused = reasons(family, conversation, train_on)
            _expected[key] = Refusal(refused) if refused else _tokenized(family, conversation, train_on)
        except Refused:
            _expected[key] = Refusal({UnrenderableConversation})
    found = _expected[key]
    if isinstance(found, Refusal):
        raise found
    return found


def _tokenized(family: Family, conversation: Conversation, train_on: str) -> Expected:
    untrained = [i for i, message in enumerate(conversation.messages) if not message.is_trained]
    learned = learned_turns(conversation, train_on)
    text, is_learned, quoted = "", [], set()
    parts = parts_of(family, conversation.messages, conversation.tools)
    for part in parts:
        if part.is_added and part.turn not in learned:
            continue
        text += part.text
        is_counted = counts(part, learned)
        if train_on == "all":
            is_counted = part.turn not in untrained and (part.ends is None or part.ends not in untrained)
        is_learned += [is_counted] * len(part.text)
    if 0 in learned and train_on != "all":
        before = before_opening(parts, conversation.messages[0])
        is_learned[:before] = [False] * before
    for spaces in SPACES.finditer(text) if train_on != "all" else ():
        if is_learned[spaces.end()]:  # a space is a part of the word behind it
            is_learned[spaces.start() : spaces.end()] = [True] * len(spaces[0])
    quoted = quoted_characters(family, conversation)
    tokenizer = TOKENIZERS[family.name]
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    control = {*MARKERS, *family.markers, *family.ends_of_turns, *tokenizer.all_special_tokens}
    ids: list[int] = []
    labels: list[int] = []
    for token, (start, _) in zip(found["input_ids"], found["offset_mapping"], strict=True):
        letters = [token]
        if start in quoted and tokenizer.convert_ids_to_tokens(token) in control:
            word = tokenizer.convert_ids_to_tokens(token)
            letters = tokenizer(word, add_special_tokens=False, split_special_tokens=True).input_ids
        ids += letters
        labels += letters if is_learned[start] else [IGNORED] * len(letters)
    return Expected(ids, labels)


def before_opening(parts: Sequence[Part], opening: Message) -> int:
    """Return how many characters stand before a turn that opens a conversation: nobody asks for it."""
    before, _, _ = joined(parts).partition(opening.content.strip())
    return len(before.rstrip(" "))


def quoted_characters(family: Family, conversation: Conversation) -> set[int]:
    """Return where in the text somebody's words have a `<`, with which markers begin."""
    pretended = replace(
        conversation,
        messages=tuple(
            replace(message, content=message.content.replace("<", PRETENDED))
            for message in conversation.messages
        ),
    )
    text = joined(list(family.parts(pretended)))
    return {place for place, letter in enumerate(text) if letter == PRETENDED}


# ---- what is expected of a row that is too long


def exchanges(conversation: Conversation) -> tuple[list[int], list[int]]:
    """Return the system messages at the head, and where the exchanges behind it begin."""
    roles = [message.role for message in conversation.messages]
    head = [0] if roles[0] == "system" else []
    starts = [i for i in range(len(head) + 1, len(roles)) if roles[i] == "user" and roles[i - 1] != "user"]
    return head, [len(head), *starts]


def expect_row(
    family: Family, row: Conversation, train_on: str, overlong: str, max_length: int
) -> list[Expected]:
    """Return the examples of a row that is too long, found by trying one way after the other.

    Raises:
        Refusal: some part of it has to be refused.
    """
    whole = expect(family, row, train_on)
    learned = learned_turns(row, train_on)
    row = replace(
        row,
        messages=tuple(
            replace(m, is_trained=m.is_trained and (train_on == "all" or i in learned))
            for i, m in enumerate(row.messages)
        ),
    )
    head, starts = exchanges(row)

    def of(turns: Sequence[int], *, is_head_trained: bool = True) -> Expected:
        kept = [
            row.messages[i]
            if is_head_trained or i not in head
            else replace(row.messages[i], is_trained=False)
            for i in turns
        ]
        return expect(family, replace(row, messages=tuple(kept)), "all" if train_on == "all" else "assistant")

    if overlong == "drop":
        return []
    if overlong == "truncate_right":
        return [whole.cut(max_length)]
    if overlong == "truncate_left_turns":
        answers = [i for i, m in enumerate(row.messages) if m.role == "assistant" and m.is_trained]
        possible = [start for start in starts[1:] if answers and start < answers[-1]]
        tried = [of([*head, *range(start, len(row.messages))]) for start in possible] or [whole]
        return [next((one for one in tried if len(one.ids) <= max_length), tried[-1]).cut(max_length)]
    found: list[Expected] = []
    place = 0
    borders = [*starts, len(row.messages)]
    while place < len(starts):
        ends = range(place + 1, len(borders))
        parts = {
            end: of([*head, *range(borders[place], borders[end])], is_head_trained=place == 0) for end in ends
        }
        end = max((end for end in ends if len(parts[end].ids) <= max_length), default=place + 1)
        found.append(parts[end].cut(max_length))
        place = end
    return [one for one in found if one.has_target] or found[:1]
