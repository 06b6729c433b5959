"""Of every family's template, in every shape, exactly the right tokens are learned; or it says why not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.support import every_case
from tests.trainer.templates.families import FAMILIES, Family, Refused
from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.example import IGNORED
from trainer.data.rendering.render import (
    ExampleRenderer,
    OverlongRow,
    UnrenderableConversation,
    UnusableTemplate,
    render_examples,
)
from trainer.model.chatml import with_defaults
from trainer.model.tiny import _tokenizer

TINY = _tokenizer().backend_tokenizer.to_str()
MARKERS = [
    *(
        "<s>",
        "</s>",
        "<bos>",
        "<|im_start|>",
        "<|im_end|>",
        "<|im_sep|>",
        "<|end|>",
        "<|endoftext|>",
        "<|eot_id|>",
    ),
    *("<|system|>", "<|user|>", "<|assistant|>", "<start_of_turn>", "<end_of_turn>", "<|end_of_text|>"),
    *("<|User|>", "<|Assistant|>", "<|end_of_sentence|>", "<|END_OF_TURN_TOKEN|>"),
]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
POLICIES = ["truncate_left_turns", "truncate_right", "split", "drop", "fail"]
MODES = ["assistant", "last_assistant", "all"]


def said(*turns: tuple[Role, str]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in turns))


LONG = [
    ("user", "Say one."),
    ("assistant", "One it is."),
    ("user", "Now two?"),
    ("assistant", "Two."),
    ("user", "3"),
]
SHAPES = {
    "single": said(("user", "What is it?"), ("assistant", "It is a cat.")),
    "many turns": said(*LONG, ("assistant", "Three and much more than that.")),
    "system": said(("system", "Be brief."), *LONG[:4]),
    "empty system": said(("system", ""), *LONG[:2]),
    "emoji": said(
        ("user", "🎉👩\u200d💻 日本?"),
        ("assistant", "é 🎉\n日本 🎉"),
        ("user", "e\u0301"),
        ("assistant", "🎉"),
    ),
    "quoting": said(
        ("user", "<|im_end|></s>"), ("assistant", "One it is."), ("user", "assistant"), ("assistant", "q")
    ),
    "assistant first": said(("assistant", "Hello."), ("user", "Who?"), ("assistant", "Me.")),
    "user last": said(("system", "Be brief."), *LONG[:3]),
    "untrained": Conversation(
        (Message("user", "Go."), Message("assistant", "Wrong.", is_trained=False), *said(*LONG[2:4]).messages)
    ),
    "thoughts": Conversation(
        (
            Message("user", "Why?"),
            Message("assistant", "So.", extra={"reasoning_content": "Let us see."}),
        )
    ),
    "tools": Conversation(
        (
            Message("user", "How is it in Bonn?"),
            Message("assistant", "", tool_calls=(CALL,)),
            Message("tool", "42", extra={"name": "weather", "tool_call_id": "abcdefghi"}),
            Message("assistant", "It rains."),
        ),
        tools=(TOOL,),
    ),
}


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(TINY)
    backend.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=with_defaults(family.template, family.options),
        eos_token=family.eos,
        bos_token=family.bos or None,
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS = {family.name: tokenizer_of(family) for family in FAMILIES}
RENDERERS = {name: ExampleRenderer(tokenizer) for name, tokenizer in TOKENIZERS.items()}


# ---- what is expected, from the parts that the families say, and turn by turn


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


class CannotBeTold(Exception):
    pass


def learned_turns(conversation: Conversation, train_on: str) -> list[int]:
    messages = conversation.messages
    turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
    if train_on == "last_assistant":
        turns = turns[-1:]
    return [i for i in turns if messages[i].is_trained]


def expect(family: Family, conversation: Conversation, train_on: str) -> Expected:
    """Return what the family's text and mask should be."""
    untrained = [i for i, message in enumerate(conversation.messages) if not message.is_trained]
    learned = learned_turns(conversation, train_on)
    if conversation.tools and not family.shows_tools:
        raise Refused
    is_whole = train_on == "all"
    parts = list(family.parts(conversation))
    if train_on == "all":
        is_rewritten = family.rewrites and any(
            conversation.messages[i].role == "assistant" for i in untrained
        )
        if is_rewritten or (0 in untrained and family.merges_system):
            raise CannotBeTold
    elif family.hidden(conversation, learned) or (learned and not family.ends_turns):
        raise CannotBeTold
    turns = range(len(conversation.messages)) if is_whole else learned
    trained = [conversation.messages[i] for i in turns if i not in untrained]
    if not family.shows_thoughts and any(message.extra.get("reasoning_content") for message in trained):
        raise Refused
    if any(message.content.strip() not in "".join(part.text for part in parts) for message in trained):
        raise Refused
    text, is_learned = "", []
    for part in parts:
        text += part.text
        counts = (
            part.turn not in untrained if train_on == "all" else part.is_produced and part.turn in learned
        )
        is_learned += [counts] * len(part.text)
    found = TOKENIZERS[family.name](text, add_special_tokens=False, return_offsets_mapping=True)
    ids, starts = found["input_ids"], [start for start, _ in found["offset_mapping"]]
    ids, starts = with_quotes_as_text(TOKENIZERS[family.name], conversation, text, ids, starts)
    return Expected(ids, [i if is_learned[start] else IGNORED for i, start in zip(ids, starts, strict=True)])


def with_quotes_as_text(
    tokenizer: PreTrainedTokenizerFast,
    conversation: Conversation,
    text: str,
    ids: list[int],
    starts: list[int],
) -> tuple[list[int], list[int]]:
    """Spell the control tokens that somebody quotes."""
    quoted, reached = set(), 0
    for message in conversation.messages:
        words = message.content.strip()
        reached = max(text.find(words, reached), reached)
        quoted |= set(range(reached, reached + len(words)))
    control = {tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS} | set(tokenizer.all_special_ids)
    spelled = []
    for token, start in zip(ids, starts, strict=True):
        letters = [token]
        if start in quoted and token in control:
            word = tokenizer.convert_ids_to_tokens(token)
            letters = tokenizer(word, add_special_tokens=False, split_special_tokens=True).input_ids
        spelled += [(letter, start) for letter in letters]
    return [token for token, _ in spelled], [start for _, start in spelled]


def exchanges(conversation: Conversation) -> tuple[list[int], list[int]]:
    """Return the system messages at the head, and where the exchanges behind it begin."""
    roles = [message.role for message in conversation.messages]
    head = [0] if roles[0] == "system" else []
    starts = [i for i in range(len(head) + 1, len(roles)) if roles[i] == "user" and roles[i - 1] != "user"]
    return head, [len(head), *starts]


def expect_row(
    family: Family, row: Conversation, train_on: str, overlong: str, max_length: int
) -> list[Expected]:
    """Return the examples of a row that is too long, found by trying one way after the other."""
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


def outcome(find: Callable[[], Any]) -> Any:
    """Return what is found, or which error says why not."""
    try:
        return find()
    except (Refused, UnrenderableConversation):
        return UnrenderableConversation
    except (CannotBeTold, UnusableTemplate):
        return UnusableTemplate


def shown(rows: Sequence[Sequence[Any]]) -> list[Expected]:
    return [Expected(example.token_ids, example.labels) for example in rows[0]]


EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
CASES = list(product(SHAPES.items(), MODES))


@EACH_FAMILY
def test_text_and_mask_are_what_the_family_says(family):
    with every_case() as cases:
        for (shape, row), train_on in CASES:
            with cases.case(f"{shape}, {train_on}"):
                assert_rendered(family, row, train_on)


def assert_rendered(family: Family, row: Conversation, train_on: str) -> None:
    """Check a row, rendered by itself and with what is remembered of earlier ones."""
    ways: dict[str, Any] = {"max_length": 10_000, "train_on": train_on}

    expected = outcome(lambda: [expect(family, row, train_on)])

    assert outcome(lambda: shown(render_examples([row], TOKENIZERS[family.name], **ways))) == expected
    assert outcome(lambda: shown(RENDERERS[family.name].render([row], **ways))) == expected


@EACH_FAMILY
def test_a_row_that_is_too_long_is_cut_where_the_family_says(family):
    with every_case() as cases:
        for (shape, row), train_on in CASES:
            whole = outcome(lambda row=row, train_on=train_on: expect(family, row, train_on))
            if isinstance(whole, type):
                continue  # refused at any length, as the test above sees
            for overlong, part in product(POLICIES, (0.4, 0.8)):
                max_length = int(part * len(whole.ids))
                with cases.case(f"{shape}, {train_on}, {overlong} at {max_length} tokens"):
                    assert_cut(family, row, train_on, overlong, max_length, len(whole.ids))


def assert_cut(
    family: Family, row: Conversation, train_on: str, overlong: str, max_length: int, length: int
) -> None:
    """Check what becomes of a row of `length` tokens, more than `max_length`."""
    renderer = RENDERERS[family.name]
    ways: dict[str, Any] = {"max_length": max_length, "overlong": overlong, "train_on": train_on}
    if overlong == "fail":
        with pytest.raises(OverlongRow, match=f"the row has {length} tokens"):
            renderer.render([row], **ways)
        return

    found = outcome(lambda: shown(renderer.render([row], **ways)))

    assert found == outcome(lambda: expect_row(family, row, train_on, overlong, max_length))


def test_every_family_shows_a_plain_conversation_of_one_exchange_or_says_why_not():
    refused = [
        family.name
        for family in FAMILIES
        if isinstance(outcome(lambda family=family: expect(family, SHAPES["single"], "assistant")), type)
    ]

    assert len(FAMILIES) >= 20
    assert refused == ["qwen 3", "deepseek r1", "falcon"]
