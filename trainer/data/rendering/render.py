"""From conversations to token ids and the loss mask; each stage is a module of its own.

conversation --masks--> text, supervised characters --tokens--> ids, supervised tokens --overlong--> examples
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from typing import Literal

from tokenizers import Tokenizer as FastTokenizer

from trainer.data.conversation import Conversation
from trainer.data.rendering.chat_template import (
    IN_USE,
    Tokenizer,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.example import IGNORED, Example, RowExamples, TrainOn, example_of, learnable
from trainer.data.rendering.masks import lost_context, mark, render_text, would_train
from trainer.data.rendering.overlong import Overlong, OverlongRow, Piece, pieces_of, whole
from trainer.data.rendering.parts import SCHEMA, TOOLS, LostPart, PartsCheck
from trainer.data.rendering.quoted_tokens import QuotedTokens, turn_markers
from trainer.data.rendering.schema_words import SchemaCheck
from trainer.data.rendering.template_cache import TemplateCache
from trainer.data.rendering.tokens import TextTokenizer, Tokens
from trainer.data.rendering.ways_out import WaysOut
from trainer.data.rendering.word_memo import WordMemo

Quotes = Literal["text", "special", "tokens"]
"""Which control tokens become text where somebody quotes them: all, the tokenizer's special ones, or none."""
UNSTEADY = ("strftime_now", "random", "lipsum")  # what templates can call that answers otherwise each time

__all__ = [
    "IGNORED",
    "Example",
    "ExampleRenderer",
    "OverlongRow",
    "RowExamples",
    "Tokenizer",
    "UnrenderableConversation",
    "UnusableTemplate",
    "example_of",
    "learnable",
    "render_examples",
]


class ExampleRenderer:
    """Renders conversations, and caches what template and tokenizer make of them, which changes nothing.

    Because of its caches, only one thread may have it render; any may ask for its fingerprint.

    Args:
        caches: false to run the template for every turn of every row.
    """

    def __init__(self, tokenizer: Tokenizer, *, caches: bool = True) -> None:
        self._tokenizer = tokenizer
        self._template = getattr(tokenizer, "chat_template", None)
        self._parts = PartsCheck(tokenizer)
        self._schemas = SchemaCheck(tokenizer)
        self._ways_out = WaysOut(tokenizer, would_train)
        self._quoted = QuotedTokens(tokenizer, turn_markers(tokenizer))
        self._quoted_special = QuotedTokens(tokenizer)
        self._texts = TemplateCache(
            lambda conversation, train_on: render_text(
                conversation, tokenizer, train_on, self._parts, self._ways_out
            ),
            self._template if caches else None,
        )
        self._tokens = TextTokenizer(tokenizer, WordMemo.of(tokenizer) if caches else None)

    @cached_property
    def fingerprint(self) -> str | None:
        """Equal for tokenizers and templates that render the same; None where that is unknown.

        It cannot with a template that might call for the date or for chance; such a name in it is enough.
        """
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, FastTokenizer) or any(name in repr(self._template) for name in UNSTEADY):
            return None
        facts = [
            backend.to_str(),
            self._template,
            getattr(self._tokenizer, "special_tokens_map", None),
            getattr(getattr(self._tokenizer, IN_USE, None), "may_begin_with_marks", False),
            [version(name) for name in ("tokenizers", "transformers", "jinja2")],
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def render(
        self,
        conversations: Sequence[Conversation],
        *,
        max_length: int,
        overlong: Overlong = "truncate_left_turns",
        train_on: TrainOn = "assistant",
        quotes: Quotes = "text",
    ) -> list[RowExamples]:
        """Render conversations, each to the examples of a row.

        Args:
            quotes: which control tokens become text where somebody quotes them.
        Raises:
            UnrenderableConversation: the chat template refuses one, or leaves out what it says.
            UnusableTemplate: what is supervised cannot be separated from the rest.
            OverlongRow: one is too long, and `overlong` is `fail`.
        """
        marked = [mark(conversation, train_on) for conversation in conversations]
        return [
            (example_of(tokens.ids, tokens.spans, is_truncated=False),)
            if len(tokens.ids) <= max_length
            else _examples(self._cut(whole(one, tokens), max_length, overlong, train_on, quotes), max_length)
            for one, tokens in zip(marked, self._tokenize(marked, train_on, quotes), strict=True)
        ]

    def pieces(
        self,
        conversation: Conversation,
        *,
        max_length: int,
        overlong: Overlong,
        train_on: TrainOn,
        quotes: Quotes = "text",
    ) -> list[Piece]:
        """Return the parts of one conversation that `render` would make examples of.

        Raises:
            UnrenderableConversation, UnusableTemplate, OverlongRow: as `render` does.
        """
        marked = mark(conversation, train_on)
        [tokens] = self._tokenize([marked], train_on, quotes)
        row = whole(marked, tokens)
        fits = len(tokens.ids) <= max_length
        return [row] if fits else self._cut(row, max_length, overlong, train_on, quotes)

    def lost_context(self, conversation: Conversation, *, train_on: TrainOn) -> list[str]:
        """Return in words which parts of a conversation the model would not see, none of them supervised.

        Raises:
            UnrenderableConversation: the chat template refuses it.
        """
        _, lost = self._lost_context(conversation, train_on)
        return [part.place for part in lost]

    def all_lost_context(self, conversation: Conversation, *, train_on: TrainOn) -> list[str]:
        """Return the same, and what the model would not see of the schemas of tools that it does see.

        Raises:
            UnrenderableConversation: the chat template refuses it.
        """
        text, lost = self._lost_context(conversation, train_on)
        places = [part.place for part in lost]
        if conversation.tools and not any(part.what in (TOOLS, SCHEMA) for part in lost):
            places += filter(None, [self._schemas.lost(conversation.tools, text)])
        return places

    def _lost_context(self, conversation: Conversation, train_on: TrainOn) -> tuple[str, list[LostPart]]:
        """Return the text of a conversation, empty if it need not be known, and what is lost."""
        if conversation.is_plain_text or self._texts.shows_all_of(conversation):
            return "", []
        marked = mark(conversation, train_on)
        try:
            return lost_context(marked, self._tokenizer, train_on, self._parts)
        except UnrenderableConversation as refusal:
            raise self._ways_out.offer(refusal, marked, train_on) from refusal

    def _cut(
        self, row: Piece, max_length: int, overlong: Overlong, train_on: TrainOn, quotes: Quotes
    ) -> list[Piece]:
        def tokenize(conversation: Conversation) -> Tokens:
            return self._tokenize([conversation], train_on, quotes)[0]

        return pieces_of(row, max_length=max_length, overlong=overlong, tokenize=tokenize)

    def quotes_control_tokens(self, conversation: Conversation) -> bool:
        """Return whether somebody quotes a control token, such as `<|im_end|>`, in a conversation."""
        return self._quoted.are_in(conversation)

    def _tokenize(self, marked: Sequence[Conversation], train_on: TrainOn, quotes: Quotes) -> list[Tokens]:
        rendered = [self._texts.render(conversation, train_on) for conversation in marked]
        if quotes == "tokens":
            return self._tokens.tokenize(rendered)
        tokens = self._quoted if quotes == "text" else self._quoted_special
        quoting = [i for i, conversation in enumerate(marked) if tokens.are_in(conversation)]
        quoted = {i: tokens.places(marked[i], rendered[i][0]) for i in quoting}
        return self._tokens.tokenize(rendered, quoted)


def render_examples(
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    overlong: Overlong = "truncate_left_turns",
    train_on: TrainOn = "assistant",
) -> list[RowExamples]:
    """Render conversations without caching anything.

    Raises:
        UnrenderableConversation, UnusableTemplate, OverlongRow: as `ExampleRenderer.render` does.
    """
    renderer = ExampleRenderer(tokenizer, caches=False)
    return renderer.render(conversations, max_length=max_length, overlong=overlong, train_on=train_on)


def _examples(pieces: Sequence[Piece], max_length: int) -> RowExamples:
    """Return the examples that have something to train; one that has nothing if none has.

    What was cut off from one that is left out for it is told by the others.
    """
    examples = [piece.example(max_length) for piece in pieces]
    kept = learnable([tuple(examples)]) or examples[:1]
    is_cut = any(example.is_truncated for example in examples if not example.supervised_tokens)
    return tuple(replace(example, is_truncated=True) if is_cut else example for example in kept)
