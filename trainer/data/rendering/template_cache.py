"""The text of a conversation, put together without running its chat template again.

With a template that only shows what messages say (see `template_analysis`), conversations with the same roles
have the same text around their words. So the template is run once per sequence of roles, on words that can be
found again, by the very code that renders rows one by one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainer.data.conversation import Conversation, Message, Role
from trainer.data.rendering.chat_template import UnrenderableConversation, UnusableTemplate
from trainer.data.rendering.example import TrainOn
from trainer.data.rendering.masks import RenderedText
from trainer.data.rendering.template_analysis import only_shows_content

SEQUENCES_KEPT = 4096  # as many sequences of roles are cached
WORDS = re.compile(r"words-of-turn-[0-9]+\.")


@dataclass(frozen=True, slots=True)
class _TextAroundTurns:
    """What stands around the words of conversations with the same roles."""

    around: tuple[str, ...]
    """Before each content, and after the last one."""
    spans: tuple[tuple[int, int, int], ...]
    """Per turn of the assistant: which content, and how many characters before and after it belong to it."""

    def fill(self, messages: Sequence[Message]) -> RenderedText:
        """Return the text with the words of these messages, and what is supervised of the assistant's."""
        parts: list[str] = []
        starts: list[int] = []
        position = 0
        for before, message in zip(self.around, messages, strict=False):
            position += len(before)
            starts.append(position)
            position += len(message.content)
            parts += (before, message.content)
        spans = [
            (starts[i] - head, starts[i] + len(messages[i].content) + tail)
            for i, head, tail in self.spans
            if messages[i].is_trained
        ]
        return "".join(parts) + self.around[-1], spans


class TemplateCache:
    """Renders conversations by the text that the template puts around their words.

    Args:
        render: renders one by one, running the template.
    """

    def __init__(self, render: Callable[[Conversation, TrainOn], RenderedText], template: object) -> None:
        self._render = render
        self._is_cacheable = isinstance(template, str) and only_shows_content(template)
        self._cached: dict[tuple[Role, ...], _TextAroundTurns | None] = {}

    def shows_all_of(self, conversation: Conversation) -> bool:
        """Return whether the template certainly shows every word."""
        return self._around(conversation) is not None

    def render(self, conversation: Conversation, train_on: TrainOn) -> RenderedText:
        """Return a marked conversation's text and what is supervised of it, as `render` would.

        Raises:
            Whatever `render` does.
        """
        messages = conversation.messages
        around = self._around(conversation)
        if around is None:
            return self._render(conversation, train_on)
        last = messages[-1]
        if last.role == "assistant" and not last.is_trained:
            return self._render(
                conversation, train_on
            )  # what ends it belongs to the text only if it is trained
        text, answers = around.fill(messages)
        if train_on != "all":
            return text, answers
        if not all([message.is_trained for message in messages]):
            return self._render(conversation, train_on)
        return text, [(0, len(text))]

    def _around(self, conversation: Conversation) -> _TextAroundTurns | None:
        if not self._is_cacheable or not _depends_on_roles_alone(conversation):
            return None
        roles = tuple([message.role for message in conversation.messages])
        if roles not in self._cached:
            if len(self._cached) >= SEQUENCES_KEPT:
                self._cached.clear()
            self._cached[roles] = self._run_template(roles)
        return self._cached[roles]

    def _run_template(self, roles: tuple[Role, ...]) -> _TextAroundTurns | None:
        """Run the template on one conversation; None when other words could not replace its own."""
        words = [f"words-of-turn-{i}." for i in range(len(roles))]
        try:
            text, spans = self._render(Conversation(tuple(map(Message, roles, words))), "assistant")
        except (UnrenderableConversation, UnusableTemplate):
            return None  # of the row itself it may be said better why, and not all turns need be supervised
        found = list(WORDS.finditer(text))
        if [match[0] for match in found] != words:
            return None
        starts = [match.start() for match in found]
        ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
        around = tuple(text[a:b] for a, b in zip([0, *ends], [*starts, len(text)], strict=True))
        turns = [i for i, role in enumerate(roles) if role == "assistant"]
        known = tuple((i, starts[i] - a, b - ends[i]) for i, (a, b) in zip(turns, spans, strict=True))
        # Where nothing follows the words, white space at their end decides where the turn ends
        return _TextAroundTurns(around, known) if all(tail > 0 for _, _, tail in known) else None


def _depends_on_roles_alone(conversation: Conversation) -> bool:
    """Return whether the template sees roles and words only, and where it puts them is a matter of roles."""
    messages = conversation.messages
    if conversation.tools or conversation.is_plain_text or messages[0].role == "assistant":
        return False  # what a template says before a first turn is no matter of roles alone
    # Nor is what it says of an empty turn
    return all([m.content and not m.tool_calls and not m.extra for m in messages])
