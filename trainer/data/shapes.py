"""The text of a conversation, put together without running its chat template again.

With a template that only shows what messages say (`trainer/data/opaque.py`), conversations with the same
roles have the same text around their words. So the template is run once per sequence of roles, on words that
can be found again, by the very code that renders rows one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trainer.data.conversation import Conversation, Message, Role
from trainer.data.opaque import only_shows_content

SHAPES_KEPT = 4096  # as many sequences of roles are remembered

Span = tuple[int, int]
RenderedText = tuple[str, list[Span]]
"""A conversation's text, and per turn of the assistant its characters [start, end)."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What stands around the words of conversations with the same roles."""

    around: tuple[str, ...]
    """Before each content, and after the last one."""
    spans: tuple[tuple[int, int, int], ...]
    """Per turn of the assistant: which content, and how many characters before and after it belong to it."""

    def fill(self, contents: list[str]) -> RenderedText:
        """Return the text with these words."""
        parts: list[str] = []
        starts: list[int] = []
        position = 0
        for before, content in zip(self.around, contents, strict=False):
            position += len(before)
            starts.append(position)
            position += len(content)
            parts += (before, content)
        spans = [(starts[i] - head, starts[i] + len(contents[i]) + tail) for i, head, tail in self.spans]
        return "".join(parts) + self.around[-1], spans


class TurnShapes:
    """Renders conversations by their shape.

    Args:
        render: renders one by one, running the template.
    """

    def __init__(self, render: Callable[[Conversation], RenderedText], template: object) -> None:
        self._render = render
        self._can_be_known = isinstance(template, str) and only_shows_content(template)
        self._shapes: dict[tuple[Role, ...], _Shape | None] = {}

    def render(self, conversation: Conversation) -> RenderedText:
        """Return a conversation's text and the assistant's part in it, as `render` would.

        Raises:
            Whatever `render` does.
        """
        messages = conversation.messages
        # What a template says of an empty turn, or before a first turn, is no matter of roles alone
        if not self._can_be_known or messages[0].role == "assistant" or not all(m.content for m in messages):
            return self._render(conversation)
        roles = tuple([message.role for message in messages])
        if roles not in self._shapes:
            if len(self._shapes) >= SHAPES_KEPT:
                self._shapes.clear()
            self._shapes[roles] = self._learn(roles)
        shape = self._shapes[roles]
        if shape is None:
            return self._render(conversation)
        return shape.fill([message.content for message in messages])

    def _learn(self, roles: tuple[Role, ...]) -> _Shape | None:
        """Look at one conversation; None when the words of others could not be put into its text."""
        words = [f"words-of-turn-{i}." for i in range(len(roles))]
        text, spans = self._render(Conversation(tuple(map(Message, roles, words))))
        starts = [text.find(word) for word in words]
        if starts != sorted(starts) or any(text.count(word) != 1 for word in words):
            return None
        ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
        around = tuple(text[a:b] for a, b in zip([0, *ends], [*starts, len(text)], strict=True))
        turns = [i for i, role in enumerate(roles) if role == "assistant"]
        known = tuple((i, starts[i] - a, b - ends[i]) for i, (a, b) in zip(turns, spans, strict=True))
        # Where nothing follows the words, white space at their end decides where the turn ends
        return _Shape(around, known) if all(tail > 0 for _, _, tail in known) else None
