"""Judge a chat template by rendering a conversation turn by turn, and find the supervised characters.

What the assistant has to produce is known from rendering the conversation turn by turn, not from searching
the text or the tokens for markers; so a prompt that quotes a marker changes nothing.
"""

import os
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import (
    ShownTurns,
    Tokenizer,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.example import Span
from trainer.protocol.text import printable

TrainOn = Literal["assistant", "last_assistant", "all"]

RenderedText = tuple[str, list[Span]]
"""A conversation's text, and the stretches of characters [start, end) that are supervised."""

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")  # of a message, as transformers reads them
SHOWN_BEFORE, SHOWN_AFTER = 20, 30  # characters around the place where two texts differ
WAY_OUT = (
    'set model.chat_template to "chatml", or give the template what it asks for in model.template_options '
    '(that of Qwen3: {"enable_thinking": false})'
)
ONLY_LAST = 'set data.train_on to "last_assistant", or model.chat_template to "chatml"'


def mark(conversation: Conversation, train_on: TrainOn) -> Conversation:
    """Return the conversation with every turn marked that `train_on` leaves out, but for whose turn it is."""
    if train_on != "last_assistant" or conversation.is_plain_text:
        return conversation
    messages = conversation.messages
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    marked = [
        message if i == last else replace(message, is_trained=False) for i, message in enumerate(messages)
    ]
    return replace(conversation, messages=tuple(marked))


def render_text(conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn) -> RenderedText:
    """Return a marked conversation's text and what is supervised of it, running the template for every turn.

    Raises:
        UnrenderableConversation: the chat template refuses it, or leaves out what it says.
        UnusableTemplate: what is supervised cannot be separated from the rest.
    """
    if conversation.is_plain_text:
        return _plain_text(conversation, tokenizer)
    turns = ShownTurns(conversation, tokenizer)
    text = turns.first(len(conversation.messages))
    _refuse_hidden_tools(conversation, text)
    reading = _RenderedTurns(conversation, turns, text, getattr(tokenizer, "eos_token", None) or "")
    if train_on == "all":
        return text, reading.all_but_untrained()
    answers = [
        i
        for i, message in enumerate(conversation.messages)
        if message.role == "assistant" and message.is_trained
    ]
    return text, [reading.answer(i) for i in answers]


def ends_of_turns(conversation: Conversation, tokenizer: Tokenizer) -> tuple[str, list[int]]:
    """Return a conversation's text, and after how many characters its turns end, for as many as can be found.

    Raises:
        UnrenderableConversation, UnusableTemplate: as `render_text` does.
    """
    text, _ = render_text(conversation, tokenizer, "all")
    if conversation.is_plain_text:
        return text, [len(text)]
    reading = _RenderedTurns(
        conversation, ShownTurns(conversation, tokenizer), text, getattr(tokenizer, "eos_token", None) or ""
    )
    ends: list[int] = []
    with suppress(UnrenderableConversation, UnusableTemplate):
        for number in range(1, len(conversation.messages)):
            ends.append(reading.end_of_first(number))
    return text, [*ends, len(text)] if len(ends) + 1 == len(conversation.messages) else ends


def _plain_text(conversation: Conversation, tokenizer: Tokenizer) -> RenderedText:
    """Put the tokenizer's marks around a text as they were when the base model was trained."""
    end = getattr(tokenizer, "eos_token", None)
    if not end:
        raise UnusableTemplate(
            "the tokenizer has no end-of-text token, which separates plain texts; name one as "
            '"eos_token" in its tokenizer_config.json'
        )
    bos = getattr(tokenizer, "bos_token", None)
    begins_with_bos = bos and tokenizer([""], add_special_tokens=True).input_ids[0][:1] == [
        getattr(tokenizer, "bos_token_id", None)
    ]
    [message] = conversation.messages
    text = f"{bos if begins_with_bos else ''}{message.content}{end}"
    return text, [(0, len(text))] if message.is_trained else []


class _RenderedTurns:
    """One conversation, and where its turns stand in its text.

    Args:
        text: of the whole conversation.
        end_of_text: the tokenizer's own marker, which may follow the last turn.
    """

    def __init__(self, conversation: Conversation, turns: ShownTurns, text: str, end_of_text: str) -> None:
        self._messages = conversation.messages
        self._turns = turns
        self._text = text
        self._end_of_text = end_of_text

    def answer(self, i: int) -> Span:
        """Return what the model has to produce in turn `i`.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        before, through = self._before(i), self._through(i)
        if not through.startswith(before):
            raise UnusableTemplate(
                f"the chat template begins messages[{i}] differently from how it asks for it: "
                f"{_difference(before, through)}, so the assistant's part cannot be identified; {WAY_OUT}"
            )
        self._refuse_rewritten(i, through)
        _refuse_other_words(self._messages[i], through[len(before) :], i)
        # Line ends after the end-of-turn marker are the template's, not the model's to produce
        return len(before), len(through.rstrip())

    def all_but_untrained(self) -> list[Span]:
        """Return everything but the turns that are not to be supervised, with all that is put around them.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        spans, start = [], 0
        for i, message in enumerate(self._messages):
            if message.is_trained:
                continue
            first, end = self.end_of_first(i), self.end_of_first(i + 1)
            if _squeezed(message.content) not in _squeezed(self._text[first:end]):
                raise UnusableTemplate(
                    f"the chat template does not show messages[{i}] in a place of its own, so it cannot be "
                    'left out of what is supervised; set data.train_on to "assistant", and data.overlong to '
                    "another value than split"
                )
            spans.append((start, first))
            start = end
        spans.append((start, len(self._text)))
        return [span for span in spans if span[0] < span[1]]

    def end_of_first(self, number: int) -> int:
        """Return after how many characters the first turns end.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        if number == 0:
            return 0
        through = self._through(number - 1)
        self._refuse_rewritten(number - 1, through)
        return len(through)

    def _before(self, i: int) -> str:
        """Return what the model is given before it produces turn `i`."""
        if i > 0:
            return self._turns.prompt_after(i)
        # Templates cannot show no message at all, but what they put before a content is the same for any
        return os.path.commonprefix([self._turns.lone_answer(words) for words in ("a", "b")])  # noqa: RUF071 - of texts, not of paths

    def _through(self, i: int) -> str:
        """Return the text up to the end of turn `i`, without what ends a conversation and not the turn.

        Phi-3, for example, puts an end of text behind the last turn, whoever has it, unless it asks for an
        answer.
        """
        is_last = i + 1 == len(self._messages)
        through = self._text if is_last else self._turns.first(i + 1)
        if not self._end_of_text or not through.endswith(self._end_of_text):
            return through
        goes_on = self._turns.prompt_after(i + 1) if is_last else self._text
        shorter = through.removesuffix(self._end_of_text)
        is_of_the_turn = goes_on.startswith(through) or not goes_on.startswith(shorter)
        if is_last and _squeezed(shorter).endswith(_squeezed(self._messages[i].content)):
            return through  # nothing else says where the turn ends, and the model has to be trained to stop
        return through if is_of_the_turn else shorter

    def _refuse_rewritten(self, i: int, through: str) -> None:
        if not self._text.startswith(through):
            raise UnusableTemplate(
                f"the chat template rewrites messages[{i}] or what stands before it once later turns follow: "
                f"{_difference(through, self._text)}, so the assistant's part cannot be identified; "
                f"{ONLY_LAST}"
            )


def _refuse_hidden_tools(conversation: Conversation, text: str) -> None:
    """Make sure that the template shows the tools of a conversation, and what is called.

    Raises:
        UnrenderableConversation: it does not.
    """
    hidden = [name for name in map(_name_of, conversation.tools) if name not in text]
    if hidden:
        raise UnrenderableConversation(
            f'the chat template does not show the tool "{printable(hidden[0], limit=40)}"; use a model whose '
            'template knows tools, or remove "tools" from the row'
        )
    for i, message in enumerate(conversation.messages):
        if any(_name_of(call) not in text for call in message.tool_calls):
            raise UnrenderableConversation(
                f"the chat template does not show the tool_calls of messages[{i}]; use a model whose "
                "template knows tools"
            )


def _name_of(tool: object) -> str:
    """Return the name of a tool or a call in one of the usual forms; empty, which every text has, if none."""
    inner = tool.get("function", tool) if isinstance(tool, dict) else {}
    return str(inner.get("name", "")) if isinstance(inner, dict) else ""


def _refuse_other_words(message: Message, produced: str, i: int) -> None:
    """Make sure that what the model has to produce in a turn is what the row says, and nothing before it.

    White space is the template's to set. Around thoughts and calls that the row has, the template may put its
    marks.
    """
    said, content = _squeezed(produced), _squeezed(message.content)
    thoughts = next((message.extra[key] for key in REASONING_KEYS if message.extra.get(key)), None)
    has_marks = bool(message.tool_calls) or (isinstance(thoughts, str) and _squeezed(thoughts) in said)
    if said.startswith(content) or (has_marks and content in said):
        return
    if message.tool_calls:
        raise UnrenderableConversation(
            f"the chat template leaves out the words of messages[{i}], because it also calls tools; "
            "remove the words, or make them a turn of their own"
        )
    place = _difference(message.content.strip(), produced.lstrip())
    raise UnusableTemplate(
        f"the chat template adds something of its own before the words of messages[{i}]: {place}, which "
        f"would be supervised, too; {WAY_OUT}"
    )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _difference(expected: str, found: str) -> str:
    """Describe for a person where two texts part."""
    place = len(os.path.commonprefix([expected, found]))  # noqa: RUF071 - of texts, not of paths
    begin, end = max(0, place - SHOWN_BEFORE), place + SHOWN_AFTER
    shown = [printable(text[begin:end]) if text[begin:end] else "nothing" for text in (expected, found)]
    return f'at character {place + 1} expected "{shown[0]}", found "{shown[1]}"'
