"""Whatever a refusal advises lets the row train, if it is done to the letter."""

import json
import re
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import pytest

from tests.support import every_case
from tests.trainer.templates.families import FAMILIES
from tests.trainer.templates.originals import ORIGINALS, Original
from tests.trainer.templates.own_templates import MARKERS_OF_THOSE, TRAIN_AS_THEY_ARE
from tests.trainer.templates.test_training_templates import ALL_SHAPES, tokenizer_with
from tests.trainer.templates.tokenizers_of_families import MARKERS
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import Refused
from trainer.data.rendering.masks import mark, render_text
from trainer.data.rendering.parts import reasoning_of
from trainer.data.rendering.ways_out import NO_WAY_OUT
from trainer.model import template_choice
from trainer.model.template_trial import names_asked_for
from trainer.model.training_templates import BY_NAME

ROUGHLY = re.compile(r"[^\[\]]{1,80}")  # a reason, up to the number of a turn
THOUGHTS = ("reasoning_content", "thinking", "reasoning")

Setting = tuple[str, dict[str, Any], str]
"""The values of `model.chat_template`, `model.template_options` and `data.train_on`."""


@pytest.fixture(autouse=True)
def _trusted_templates(monkeypatch):
    """Each trial of what a template costs would be a process of its own."""
    monkeypatch.setattr(template_choice, "refuse_costly_template", lambda *_: None)


@cache
def tokenizer_of(
    template: str, bos: str, eos: str, markers: tuple[str, ...], wanted: str, options: str
) -> Any:
    original = Original("", template, bos=bos, eos=eos)
    tokenizer = tokenizer_with(template, original, markers)
    template_choice.choose_template(tokenizer, wanted, "a model", json.loads(options))
    return tokenizer


def refusal(
    original: Original, markers: tuple[str, ...], row: Conversation, setting: Setting
) -> Refused | None:
    """Return why a row is not trained; None if it is."""
    wanted, options, train_on = setting
    facts = original.template, original.bos, original.eos, markers
    tokenizer = tokenizer_of(*facts, wanted, json.dumps(options))
    try:
        render_text(mark(row, train_on), tokenizer, train_on)
    except Refused as refused:
        return refused
    return None


# ---- what a person does who follows the advice, said a second time


def of_each(message: Message, **changed: Any) -> Message:
    return replace(message, **changed)


def without_thoughts(message: Message) -> Message:
    return of_each(message, extra={key: value for key, value in message.extra.items() if key not in THOUGHTS})


def thoughts_in_words(row: Conversation) -> Conversation:
    return replace(
        row,
        messages=tuple(
            of_each(
                without_thoughts(message),
                content=f"<think>\n{reasoning_of(message)}\n</think>\n\n{message.content}",
            )
            if reasoning_of(message)
            else message
            for message in row.messages
        ),
    )


def without_tools(row: Conversation) -> Conversation:
    messages = [of_each(message, tool_calls=()) for message in row.messages if message.role != "tool"]
    called = {i for i, message in enumerate(row.messages) if message.tool_calls and not message.content}
    kept = [message for message in row.messages if message.role != "tool"]
    pairs = zip(kept, messages, strict=True)
    return replace(
        row,
        tools=(),
        messages=tuple(bare for before, bare in pairs if row.messages.index(before) not in called),
    )


def one_call_a_turn(row: Conversation) -> Conversation:
    results = {
        message.extra.get("tool_call_id"): message for message in row.messages if message.role == "tool"
    }
    messages: list[Message] = []
    for message in row.messages:
        if len(message.tool_calls) > 1:
            for call in message.tool_calls:
                messages += [of_each(message, tool_calls=(call,)), results[call["id"]]]
        elif message.role != "tool" or message not in messages:
            messages.append(message)
    return replace(row, messages=tuple(messages))


def words_apart(row: Conversation) -> Conversation:
    pairs = (
        (of_each(message, tool_calls=()), of_each(message, content="", extra={}))
        if message.tool_calls and message.content
        else (message,)
        for message in row.messages
    )
    return replace(row, messages=tuple(chain.from_iterable(pairs)))


def without_words_beside_calls(row: Conversation) -> Conversation:
    return replace(
        row,
        messages=tuple(
            of_each(message, content="") if message.tool_calls else message for message in row.messages
        ),
    )


def system_in_question(row: Conversation) -> Conversation:
    system, question, *others = row.messages
    told = of_each(question, content=f"{system.content}\n\n{question.content}")
    return replace(row, messages=(told, *others))


def with_ids(row: Conversation) -> Conversation:
    messages = []
    for message in row.messages:
        if message.tool_calls:
            message = of_each(
                message,
                tool_calls=tuple({**call, "id": f"call{i:05}"} for i, call in enumerate(message.tool_calls)),
            )
            given = iter(range(len(message.tool_calls)))
        elif message.role == "tool":
            message = of_each(message, extra={**message.extra, "tool_call_id": f"call{next(given):05}"})
        messages.append(message)
    return replace(row, messages=tuple(messages))


TO_DO = {
    'write the thoughts into the words, as "<think>…</think>" before them': thoughts_in_words,
    "remove the thoughts": lambda row: replace(row, messages=tuple(map(without_thoughts, row.messages))),
    "remove the tools with their calls and results": without_tools,
    "give every call a turn of its own, with its result behind it": one_call_a_turn,
    "make the words of a turn that calls tools a turn of their own": words_apart,
    "remove the words of turns that call tools": without_words_beside_calls,
    "say in the first question what the system says": system_in_question,
    'give every call an "id" of 9 characters, and its result the same as "tool_call_id"': with_ids,
}


def ways_of(message: str) -> list[str]:
    """Return the advice at the end of a message, each way on its own."""
    *_, first = re.split(r"; (?=set |write |give |make |remove |say |no other )", message)
    return re.split(r", or (?=set |write |give |make |remove |say )", first)


def follow(way: str, row: Conversation, setting: Setting) -> tuple[Conversation, Setting]:
    """Return the row and the settings after the advice was followed; nothing of it may be left over."""
    wanted, options, train_on = setting
    if found := re.search(r'set model\.chat_template to "([^"]+)"', way):
        wanted, way = found[1], way.replace(found[0], "")
    if found := re.search(r"set model\.template_options to (\{.*?\})", way):
        options, way = json.loads(found[1]), way.replace(found[0], "")
    if found := re.search(r'set data\.train_on to "(\w+)"', way):
        train_on, way = found[1], way.replace(found[0], "")
    for words in sorted((words for words in TO_DO if words in way), key=way.index):
        row, way = TO_DO[words](row), way.replace(words, "")
    assert re.fullmatch(r"(,? and )*", way), f"nobody could follow: {way}"
    return row, (wanted, options, train_on)


OWN = [(original, BY_NAME[original.training_template].markers) for original in ORIGINALS]
OWN += [(original, MARKERS_OF_THOSE[original.name]) for original in TRAIN_AS_THEY_ARE]
OWN += [
    (
        Original(family.name, family.template, bos=family.bos, eos=family.eos),
        (*MARKERS, *family.markers, *family.ends_of_turns),
    )
    for family in FAMILIES
    if not family.options
]


def options_of(original: Original) -> dict[str, Any]:
    known = names_asked_for(original.template)
    return {name: value for name, value in original.options.items() if name in known}


CASES = [(*case, True) for case in OWN]
CASES += [(*case, False) for case in OWN if case[0].training_template in BY_NAME]


@pytest.mark.parametrize("original, markers, is_own", CASES, ids=[case[0].name for case in CASES])
def test_following_the_advice_to_the_letter_lets_the_row_train(original, markers, is_own):
    """Advice is found by trying, which takes a while: it is followed for the first row of each reason."""
    training, reasons = original.training_template, set()
    with every_case() as cases:
        for shape, row in ALL_SHAPES.items():
            options = options_of(original) if is_own else dict(original.options)
            setting: Setting = ("own" if is_own else training, options, "assistant")
            with cases.case(shape):
                refused = refusal(original, markers, row, setting)
                if refused and (reason := ROUGHLY.match(refused.reason)[0]) not in reasons:
                    reasons.add(reason)
                    told = refused.with_way_out()
                    assert not told.endswith(NO_WAY_OUT), told
                    for way in ways_of(told):
                        changed, then = follow(way, row, setting)
                        assert refusal(original, markers, changed, then) is None, f"{told}\n-> {way}"
