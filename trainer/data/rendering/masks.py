"""Judge a chat template by rendering a conversation turn by turn, and find the supervised characters.

What the assistant has to produce is known from rendering the conversation turn by turn, not from searching
the text or the tokens for markers; so a prompt that quotes a marker changes nothing.
"""

import os
from collections.abc import Sequence
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
from trainer.data.rendering.parts import CALLS, TOOLS, LostPart, PartsCheck, reasoning_of, squeezed
from trainer.data.rendering.turn_end import TurnEnd
from trainer.protocol.text import printable

TrainOn = Literal["assistant", "last_assistant", "all"]

RenderedText = tuple[str, list[Span]]
"""A conversation's text, and the stretches of characters [start, end) that are supervised."""

SHOWN_BEFORE, SHOWN_AFTER = 20, 30  # characters around the place where two texts differ
WAY_OUT = (
    'set model.chat_template to "chatml", or give the template what it asks for in model.template_options '
    '(that of Qwen3: {"enable_thinking": false})'
)
USE_ANOTHER_TEMPLATE = "use a model whose template does, or another model.chat_template"
PROBE = "zq0zq"  # words that no template knows
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


def render_text(
    conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn, parts: PartsCheck | None = None
) -> RenderedText:
    """Return a marked conversation's text and what is supervised of it, running the template for every turn.

    Args:
        parts: finds what is not shown.
    Raises:
        UnrenderableConversation: the chat template refuses it, or leaves out what it says.
        UnusableTemplate: what is supervised cannot be separated from the rest.
    """
    if conversation.is_plain_text:
        return _plain_text(conversation, tokenizer)
    parts = parts or PartsCheck(tokenizer)
    turns = ShownTurns(conversation, tokenizer)
    text = turns.first(len(conversation.messages))
    lost = parts.lost(conversation, text)
    _refuse_hidden_tools(lost)
    reading = _RenderedTurns(conversation, turns, text, tokenizer)
    trained = _trained_turns(conversation, train_on)
    spans = reading.all_but_untrained() if train_on == "all" else [reading.answer(i) for i in trained]
    _refuse_lost([part for part in lost if part.turn in trained])
    return reading.text, spans


def lost_context(
    conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn, parts: PartsCheck
) -> list[LostPart]:
    """Return what is not shown of a marked conversation, but would not be supervised anyway.

    Raises:
        UnrenderableConversation: the chat template refuses it.
    """
    text = ShownTurns(conversation, tokenizer).first(len(conversation.messages))
    trained = _trained_turns(conversation, train_on)
    return [part for part in parts.lost(conversation, text) if part.turn not in trained]


def _trained_turns(conversation: Conversation, train_on: TrainOn) -> list[int]:
    return [
        i
        for i, message in enumerate(conversation.messages)
        if message.is_trained and (train_on == "all" or message.role == "assistant")
    ]


def ends_of_turns(conversation: Conversation, tokenizer: Tokenizer) -> tuple[str, list[int]]:
    """Return a conversation's text, and after how many characters its turns end, for as many as can be found.

    Raises:
        UnrenderableConversation, UnusableTemplate: as `render_text` does.
    """
    text, _ = render_text(conversation, tokenizer, "all")
    if conversation.is_plain_text:
        return text, [len(text)]
    reading = _RenderedTurns(conversation, ShownTurns(conversation, tokenizer), text, tokenizer)
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
    """

    def __init__(
        self, conversation: Conversation, turns: ShownTurns, text: str, tokenizer: Tokenizer
    ) -> None:
        self._messages = conversation.messages
        self._turns = turns
        self.text = text
        """With the token that ends the last turn, if the template leaves that to the next one."""
        self._text = text
        self._end_of_text = getattr(tokenizer, "eos_token", None) or ""  # may follow the last turn
        self._turn_end = TurnEnd(tokenizer)

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
        self._refuse_additions(i, before)
        _refuse_other_words(self._messages[i], through[len(before) :], i)
        return len(before), self._end_of_answer(i, before, through)

    def _refuse_additions(self, i: int, before: str) -> None:
        """Make sure that nothing of the template's own would stand before the words of a turn that has none.

        Where a turn calls tools, its words and calls cannot tell. So it is tried with words alone.
        """
        message = self._messages[i]
        if (message.content.strip() and not message.tool_calls) or reasoning_of(message):
            return
        shown = self._turns.first_with_answer(i, PROBE)
        if shown.startswith(before):
            _refuse_other_words(Message("assistant", PROBE), shown[len(before) :], i)

    def _end_of_answer(self, i: int, before: str, through: str) -> int:
        """Return where turn `i` ends, with the token by which the model says so.

        Raises:
            UnusableTemplate: there is none.
        """
        end = self._turn_end.within(through[len(before) :], self._messages[i])
        if end is not None:
            return len(before) + end
        ended = through.rstrip()
        is_last = i + 1 == len(self._messages)
        following = (self._turns.followed_by_question() if is_last else self._text)[len(ended) :]
        token = self._turn_end.token_at(following)
        if token is None:
            raise UnusableTemplate(
                f"the chat template ends messages[{i}] with no token of the vocabulary, so the model would "
                f"never learn to stop; {WAY_OUT}"
            )
        if is_last:  # the next turn's token ends this one, GLM's for example
            self.text = ended + token
        return len(ended) + len(token)

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
            if squeezed(message.content) not in squeezed(self._text[first:end]):
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
        shown = os.path.commonprefix([self._turns.lone_answer(words) for words in ("a", "b")])  # noqa: RUF071 - of texts, not of paths
        return shown.rstrip(" ")  # in many vocabularies a space is a part of the word behind it

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
        if is_last and squeezed(shorter).endswith(squeezed(self._messages[i].content)):
            return through  # nothing else says where the turn ends, and the model has to be trained to stop
        return through if is_of_the_turn else shorter

    def _refuse_rewritten(self, i: int, through: str) -> None:
        if not self._text.startswith(through):
            raise UnusableTemplate(
                f"the chat template rewrites messages[{i}] or what stands before it once later turns follow: "
                f"{_difference(through, self._text)}, so the assistant's part cannot be identified; "
                f"{ONLY_LAST}"
            )


def _refuse_hidden_tools(lost: Sequence[LostPart]) -> None:
    """Make sure that the template shows the tools of a conversation, and what is called.

    Raises:
        UnrenderableConversation: it does not.
    """
    for part in lost:
        if part.what in (TOOLS, CALLS):
            raise UnrenderableConversation(
                f"the chat template does not show {part.place}; {USE_ANOTHER_TEMPLATE}, or remove them from "
                "the row"
            )


def _refuse_lost(lost: Sequence[LostPart]) -> None:
    """Make sure that nothing is lost of what is to be supervised.

    Raises:
        UnrenderableConversation: something is.
    """
    for part in lost:
        raise UnrenderableConversation(
            f"the chat template does not show {part.place}, at least not in its place or not all of it; "
            f"{USE_ANOTHER_TEMPLATE}, or remove the {part.what} from the row"
        )


def _refuse_other_words(message: Message, produced: str, i: int) -> None:
    """Make sure that what the model has to produce in a turn is what the row says, and nothing before it.

    White space is the template's to set. Around thoughts and calls that the row has, the template may put its
    marks.
    """
    said, content = squeezed(produced), squeezed(message.content)
    thoughts = reasoning_of(message)
    has_marks = bool(message.tool_calls) or bool(thoughts and squeezed(thoughts) in said)
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


def _difference(expected: str, found: str) -> str:
    """Describe for a person where two texts part."""
    place = len(os.path.commonprefix([expected, found]))  # noqa: RUF071 - of texts, not of paths
    begin, end = max(0, place - SHOWN_BEFORE), place + SHOWN_AFTER
    shown = [printable(text[begin:end]) if text[begin:end] else "nothing" for text in (expected, found)]
    return f'at character {place + 1} expected "{shown[0]}", found "{shown[1]}"'
