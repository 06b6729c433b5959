"""Judge a chat template by rendering a conversation turn by turn, and find the supervised characters.

What the assistant has to produce is known from rendering the conversation turn by turn, not from searching
the text or the tokens for markers; so a prompt that quotes a marker changes nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from trainer.data.conversation import Conversation
from trainer.data.rendering.chat_template import (
    Refused,
    ShownTurns,
    Tokenizer,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.example import Span, TrainOn
from trainer.data.rendering.long_conversations import MANY_TURNS, LongConversation
from trainer.data.rendering.parts import CALLS, NAME, TOOLS, LostPart, PartsCheck, squeezed
from trainer.data.rendering.rendered_turns import RenderedTurns
from trainer.data.rendering.ways_out import WaysOut

RenderedText = tuple[str, list[Span]]
"""A conversation's text, and the stretches of characters [start, end) that are supervised."""


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
    conversation: Conversation,
    tokenizer: Tokenizer,
    train_on: TrainOn,
    parts: PartsCheck | None = None,
    ways_out: WaysOut | None = None,
) -> RenderedText:
    """Return a marked conversation's text and what is supervised of it, running the template for every turn.

    Args:
        parts: finds what is not shown.
        ways_out: asked for one if somebody wants to know what to do about a refusal.
    Raises:
        UnrenderableConversation: the chat template refuses it, or leaves out what it says.
        UnusableTemplate: what is supervised cannot be separated from the rest.
    """
    if conversation.is_plain_text:
        return _plain_text(conversation, tokenizer)
    parts = parts or PartsCheck(tokenizer)
    try:
        return _conversation(conversation, tokenizer, train_on, parts)
    except Refused as refusal:
        raise (ways_out or WaysOut(tokenizer, would_train)).offer(
            refusal, conversation, train_on
        ) from refusal


def would_train(conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn) -> bool:
    """Return whether a row is rendered without a refusal, and trained if it has an answer."""
    try:
        marked = mark(conversation, train_on)
        _, spans = _conversation(marked, tokenizer, train_on, PartsCheck(tokenizer))
    except Refused:
        return False
    return bool(spans) or not any(message.role == "assistant" for message in conversation.messages)


def _conversation(
    conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn, parts: PartsCheck
) -> RenderedText:
    turns = ShownTurns(conversation, tokenizer)
    text = turns.first(len(conversation.messages))
    lost = parts.lost(conversation, text)
    _refuse_lost([part for part in lost if part.what in (TOOLS, CALLS)])
    trained = _trained_turns(conversation, train_on)
    wanted = len(conversation.messages) - len(trained) if train_on == "all" else len(trained)
    reading = _read(conversation, text, turns, tokenizer, wanted=wanted)
    if train_on == "all":
        if len(conversation.messages) - 1 in trained and conversation.messages[-1].role == "assistant":
            with suppress(UnrenderableConversation, UnusableTemplate):  # what names no end is trained without
                text = reading.text_with_last_end()
        spans = _all_but_untrained(conversation, reading, text)
    else:
        answers = [reading.answer(i) for i in trained]
        spans = [answer.span for answer in answers]
        text = answers[-1].text if answers else text
    _refuse_lost(
        [part for part in lost if part.turn in trained and part.what != NAME],
        ", or only partly, or elsewhere",
    )
    return text, spans


def _read(
    conversation: Conversation, text: str, turns: ShownTurns, tokenizer: Tokenizer, *, wanted: int
) -> RenderedTurns | LongConversation:
    """Return where the turns stand in a text, in the way that is quickest if so many are asked for."""
    kind = LongConversation if wanted > MANY_TURNS else RenderedTurns
    return kind(conversation, text, turns, tokenizer)


def lost_context(
    conversation: Conversation, tokenizer: Tokenizer, train_on: TrainOn, parts: PartsCheck
) -> tuple[str, list[LostPart]]:
    """Return the text of a marked conversation, and what it does not show that is not to be supervised.

    Raises:
        UnrenderableConversation: the chat template refuses it.
    """
    text = ShownTurns(conversation, tokenizer).first(len(conversation.messages))
    trained = _trained_turns(conversation, train_on)
    lost = parts.lost(conversation, text)
    return text, [part for part in lost if part.turn not in trained or part.what == NAME]


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
    try:
        text, _ = render_text(conversation, tokenizer, "assistant")
    except (UnrenderableConversation, UnusableTemplate):  # which do not matter where all is supervised
        text, _ = render_text(conversation, tokenizer, "all")
    if conversation.is_plain_text:
        return text, [len(text)]
    ends: list[int] = []
    with suppress(UnrenderableConversation, UnusableTemplate):
        turns = ShownTurns(conversation, tokenizer)
        reading = _read(conversation, text, turns, tokenizer, wanted=len(conversation.messages))
        for number in range(1, len(conversation.messages)):
            ends.append(reading.end_of_first(number))
    return text, [*ends, len(text)] if len(ends) + 1 == len(conversation.messages) else ends


def _plain_text(conversation: Conversation, tokenizer: Tokenizer) -> RenderedText:
    """Put the tokenizer's marks around a text as they were when the base model was trained."""
    end = getattr(tokenizer, "eos_token", None)
    if not end:
        raise UnusableTemplate(
            "the tokenizer has no end-of-text token, which separates plain texts",
            way_out='name one as "eos_token" in its tokenizer_config.json',
        )
    bos = getattr(tokenizer, "bos_token", None)
    begins_with_bos = bos and tokenizer([""], add_special_tokens=True).input_ids[0][:1] == [
        getattr(tokenizer, "bos_token_id", None)
    ]
    [message] = conversation.messages
    text = f"{bos if begins_with_bos else ''}{message.content}{end}"
    return text, [(0, len(text))] if message.is_trained else []


def _all_but_untrained(
    conversation: Conversation, reading: RenderedTurns | LongConversation, text: str
) -> list[Span]:
    """Return everything but the turns that are not to be supervised, with all that is put around them.

    Args:
        text: with the end of the last turn.
    Raises:
        UnrenderableConversation, UnusableTemplate: as `render_text` does.
    """
    spans, start = [], 0
    for i, message in enumerate(conversation.messages):
        if message.is_trained:
            continue
        first, end = reading.end_of_first(i), reading.end_of_turn(i)
        if squeezed(message.content) not in squeezed(text[first:end]):
            raise UnusableTemplate(
                f"the chat template does not show messages[{i}] in a place of its own, so it cannot be left "
                "out of what is supervised",
                way_out='set data.train_on to "assistant", and data.overlong to another value than split',
            )
        spans.append((start, first))
        start = end
    spans.append((start, len(text)))
    return [span for span in spans if span[0] < span[1]]


def _refuse_lost(lost: Sequence[LostPart], how: str = "") -> None:
    """Make sure that nothing is lost of what the model has to see.

    Args:
        lost: parts of that kind.
        how: in which way, for the message.
    Raises:
        UnrenderableConversation: something is.
    """
    if lost:
        raise UnrenderableConversation(f"the chat template does not show {lost[0].place}{how}")
