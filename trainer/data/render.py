"""From a Conversation to token ids and the loss mask. Shapes: T = tokens of one row.

Which characters the assistant wrote is known from rendering the conversation turn by turn, not from searching
the text or the tokens for markers; so a prompt that quotes a marker changes nothing.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, Protocol

from jinja2 import TemplateError
from tokenizers import Tokenizer as FastTokenizer

from trainer.data.conversation import Conversation
from trainer.data.shapes import RenderedText, Span, TurnShapes
from trainer.data.word_memo import WordMemo

IGNORED = -100  # the label that torch's cross entropy skips
UNSTEADY = ("strftime_now", "random", "lipsum")  # what templates can call that answers otherwise each time


class Encodings(Protocol):
    """What a fast tokenizer returns for several texts."""

    input_ids: list[list[int]]

    def char_to_token(self, batch_or_char_index: int, char_index: int) -> int | None: ...

    def token_to_chars(self, batch_or_token_index: int, token_index: int) -> Any: ...


class Tokenizer(Protocol):
    """What rendering needs of a tokenizer of the transformers library."""

    def __hash__(self) -> int: ...

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...


class UnrenderableConversation(ValueError):
    """The chat template refuses this conversation."""


class UnusableTemplate(ValueError):
    """The chat template does not show conversations turn by turn, whichever they are."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as the model sees it."""

    token_ids: list[int]
    """(T,)"""
    labels: list[int]
    """(T,) the token itself where the assistant wrote it, else IGNORED."""
    supervised_tokens: int
    """Labels that count: not IGNORED, and not at position 0, which nothing predicts."""
    is_truncated: bool


def render_examples(
    conversations: Sequence[Conversation], tokenizer: Tokenizer, *, max_length: int
) -> list[Example]:
    """Render conversations one by one, by running the chat template for every turn.

    Raises:
        UnrenderableConversation: the chat template refuses one.
        UnusableTemplate: it rewrites earlier turns, or adds words to the assistant's.
    """
    rendered = [render_text(conversation, tokenizer) for conversation in conversations]
    return _tokenize(rendered, tokenizer, max_length)


class ExampleRenderer:
    """Renders as `render_examples` does, but remembers what it has learned of template and words.

    Because it learns, only one thread may have it render; any may ask for its fingerprint.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._template = getattr(tokenizer, "chat_template", None)
        self._shapes = TurnShapes(lambda conversation: render_text(conversation, tokenizer), self._template)
        self._memo = WordMemo.of(tokenizer)

    @cached_property
    def fingerprint(self) -> str | None:
        """Equal for tokenizers and templates that render the same; None where that cannot be told.

        It cannot with a template that might call for the date or for chance; such a name in it is enough.
        """
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, FastTokenizer) or any(name in repr(self._template) for name in UNSTEADY):
            return None
        facts = [
            backend.to_str(),
            self._template,
            getattr(self._tokenizer, "special_tokens_map", None),
            [version(name) for name in ("tokenizers", "transformers", "jinja2")],
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def render(self, conversations: Sequence[Conversation], *, max_length: int) -> list[Example]:
        """Render conversations.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_examples` does.
        """
        rendered = [self._shapes.render(conversation) for conversation in conversations]
        examples = [self._from_memo(text, spans, max_length) for text, spans in rendered]
        others = iter(
            _tokenize(
                [each for each, example in zip(rendered, examples, strict=True) if example is None],
                self._tokenizer,
                max_length,
            )
        )
        return [example or next(others) for example in examples]

    def _from_memo(self, text: str, spans: list[Span], max_length: int) -> Example | None:
        borders = [border for span in spans for border in span]
        if self._memo is None or borders != sorted(borders):
            return None
        found = self._memo.encode(text, borders)
        if found is None:
            return None
        token_ids, counts = found
        return _example(token_ids, list(zip(counts[::2], counts[1::2], strict=True)), max_length)


def _tokenize(rendered: Sequence[RenderedText], tokenizer: Tokenizer, max_length: int) -> list[Example]:
    """Tokenize texts, together because that is how tokenizers are fast."""
    if not rendered:
        return []
    encodings = tokenizer([text for text, _ in rendered], add_special_tokens=False)
    return [
        _example(encodings.input_ids[i], _token_spans(encodings, i, spans), max_length)
        for i, (_, spans) in enumerate(rendered)
    ]


def render_text(conversation: Conversation, tokenizer: Tokenizer) -> RenderedText:
    """Return the text and, per assistant turn, the characters [start, end) that the model has to produce.

    Raises:
        UnrenderableConversation, UnusableTemplate: as `render_examples` does.
    """
    messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
    text = _apply(tokenizer, messages)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _before_turn(tokenizer, messages, i)
        through = text if i + 1 == len(messages) else _apply(tokenizer, messages[: i + 1])
        if not (text.startswith(through) and through.startswith(before)):
            raise UnusableTemplate(
                f"the chat template rewrites what stands before messages[{i}] once later turns follow, so "
                'the assistant\'s part cannot be told; set model.chat_template to "chatml"'
            )
        if not through[len(before) :].lstrip().startswith(message["content"].strip()):
            raise UnusableTemplate(
                f"the chat template puts something of its own before the words of messages[{i}], which would "
                'be learned, too; set model.chat_template to "chatml"'
            )
        # Line ends after the end-of-turn marker are the template's, not the model's to produce
        spans.append((len(before), len(through.rstrip())))
    return text, spans


def _before_turn(tokenizer: Tokenizer, messages: list[dict[str, str]], i: int) -> str:
    """Return what the model is given before it produces `messages[i]`."""
    if i > 0:
        return _apply(tokenizer, messages[:i], add_generation_prompt=True)
    # Templates cannot show no message at all, but what they put before a content is the same for any content
    content = messages[0]["content"]
    other = "b" if content.lstrip().startswith("a") else "a"
    shown = [_apply(tokenizer, [messages[0] | {"content": text}]) for text in (content, other)]
    return os.path.commonprefix(shown)  # noqa: RUF071 - of texts, not of paths


def _apply(
    tokenizer: Tokenizer, messages: list[dict[str, str]], *, add_generation_prompt: bool = False
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    except (TemplateError, ValueError, TypeError, LookupError) as error:
        raise UnrenderableConversation(f"the chat template refuses the conversation: {error}") from error


def _token_spans(encodings: Encodings, row: int, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Turn spans of characters into spans of tokens.

    A token is the assistant's if it begins within the span.
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


def _example(token_ids: list[int], spans: list[Span], max_length: int) -> Example:
    kept = token_ids[:max_length]
    return example_of(kept, spans, is_truncated=len(kept) < len(token_ids))


def example_of(token_ids: list[int], spans: Iterable[Span], *, is_truncated: bool) -> Example:
    """Return the example of these tokens.

    Args:
        spans: tokens [first, end) that the assistant wrote; they may reach beyond the last token.
    """
    labels = [IGNORED] * len(token_ids)
    for first, end in spans:
        labels[first:end] = token_ids[first:end]
    supervised = len(labels) - labels.count(IGNORED) - (labels[:1] not in ([], [IGNORED]))
    return Example(token_ids, labels, supervised, is_truncated)
