"""One conversation as its template shows it, and where its turns stand in the text."""

import os
from typing import NamedTuple

from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import (
    IN_USE,
    ShownTurns,
    Tokenizer,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.example import Span
from trainer.data.rendering.parts import reasoning_of, squeezed
from trainer.data.rendering.turn_end import TurnEnd
from trainer.protocol.text import printable

SHOWN_BEFORE, SHOWN_AFTER = 20, 30  # characters around the place where two texts differ
PROBE = "zq0zq"  # words that no template knows


class Answer(NamedTuple):
    """What the model has to produce in one turn."""

    span: Span
    text: str
    """Of the whole conversation, with the token that ends this turn, whoever shows that."""


class RenderedTurns:
    """One conversation, and where its turns stand in its text. Changes neither.

    Args:
        text: of the whole conversation.
        turns: shows any number of its turns.
    """

    def __init__(
        self, conversation: Conversation, text: str, turns: ShownTurns, tokenizer: Tokenizer
    ) -> None:
        self._messages = conversation.messages
        self._turns = turns
        self._text = text
        self._end_of_text = getattr(tokenizer, "eos_token", None) or ""  # may follow the last turn
        self._turn_end = TurnEnd(tokenizer)
        in_use = getattr(tokenizer, IN_USE, None)
        # What one of ours puts before words, the model has to produce: <|channel|>final<|message|> is such
        self._may_begin_with_marks = in_use is not None and in_use.may_begin_with_marks

    def answer(self, i: int) -> Answer:
        """Return what the model has to produce in turn `i`, and the text that has it all.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        before, through = self._before(i), self._through(i)
        if not through.startswith(before):
            raise UnusableTemplate(
                f"the chat template begins messages[{i}] differently from how it asks for it: "
                f"{_difference(before, through)}, so the assistant's part cannot be identified"
            )
        self._refuse_rewritten(i, through)
        self._refuse_additions(i, before)
        self._refuse_other_words(self._messages[i], through[len(before) :], i)
        end, text = self._end_of_answer(i, before, through)
        self._refuse_words_behind(i, through[len(before) : end])
        # In many vocabularies a space is a part of the word behind it, also if ERNIE's prompt ends with it
        return Answer((len(before.rstrip(" ")), end), text)

    def _refuse_additions(self, i: int, before: str) -> None:
        """Make sure that nothing of the template's own would stand before the words of a turn that has none.

        Where a turn calls tools, its words and calls cannot tell. So it is tried with words alone.
        """
        message = self._messages[i]
        has_words_alone = bool(message.content.strip()) and not message.tool_calls
        if has_words_alone or reasoning_of(message) or self._may_begin_with_marks:
            return
        shown = self._turns.first_with_answer(i, PROBE)
        if shown.startswith(before):
            self._refuse_other_words(Message("assistant", PROBE), shown[len(before) :], i)

    def _refuse_other_words(self, message: Message, produced: str, i: int) -> None:
        """Make sure that what the model has to produce in a turn is what the row says, and nothing before it.

        White space is the template's to set. Around thoughts and calls that the row has, the template may put
        its marks.
        """
        said, content = squeezed(produced), squeezed(message.content)
        thoughts = reasoning_of(message)
        shows_thoughts = bool(thoughts) and squeezed(thoughts) in said
        has_marks = bool(message.tool_calls) or shows_thoughts or self._may_begin_with_marks
        if said.startswith(content) or (has_marks and content in said):
            return
        if message.tool_calls:
            raise UnrenderableConversation(
                f"the chat template leaves out the words of messages[{i}], because it also calls tools"
            )
        place = _difference(message.content.strip(), produced.lstrip())
        raise UnusableTemplate(
            f"the chat template adds something of its own before the words of messages[{i}]: {place}, which "
            "would be supervised, too"
        )

    def _refuse_words_behind(self, i: int, produced: str) -> None:
        """Make sure that behind the words of a turn without calls nothing stands but tokens that end it."""
        message = self._messages[i]
        if message.tool_calls or not self._turn_end.is_known:
            return
        said = squeezed(message.content or reasoning_of(message))
        if not said and self._may_begin_with_marks:
            return
        if not self._turn_end.only_closes(squeezed(produced), said):
            raise UnusableTemplate(
                f"the chat template adds something of its own behind the words of messages[{i}]: "
                f'"…{printable(produced[-SHOWN_AFTER:])}", which would be supervised, too'
            )

    def _end_of_answer(self, i: int, before: str, through: str) -> tuple[int, str]:
        """Return where turn `i` ends, with the token by which the model says so, and the text that shows it.

        Raises:
            UnusableTemplate: there is none.
        """
        end = self._turn_end.within(through[len(before) :], self._messages[i])
        if end is not None:
            return len(before) + end, self._text
        ended = through.rstrip()
        is_last = i + 1 == len(self._messages)
        token = self._turn_end.token_at(self._behind_last(ended) if is_last else self._text[len(ended) :])
        if token is None:
            raise UnusableTemplate(
                f"the chat template ends messages[{i}] with no token of the vocabulary, so the model would "
                "never learn to stop"
            )
        # The next turn's token ends this one, GLM's for example
        return len(ended) + len(token), ended + token if is_last else self._text

    def _behind_last(self, ended: str) -> str:
        """Return what would follow the last turn, if its text ends like this and somebody else spoke next."""
        shown = self._turns.followed_by_another()
        if shown.startswith(ended):
            return shown[len(ended) :]
        # A further question may take the thoughts out of the turn before it
        return self._turns.followed_by_another(PROBE).partition(PROBE)[2]

    def text_with_last_end(self) -> str:
        """Return the text with the token that ends the last turn, whoever shows that.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        last = len(self._messages) - 1
        before = self._turns.first(last) if last else ""
        before = before if self._text.startswith(before) else ""
        return self._end_of_answer(last, before, self._text)[1]

    def end_of_turn(self, i: int) -> int:
        """Return after how many characters turn `i` ends, with the token that ends it, whoever shows that.

        Raises:
            UnrenderableConversation, UnusableTemplate: as `render_text` does.
        """
        start, end = self.end_of_first(i), self.end_of_first(i + 1)
        message = self._messages[i]
        if message.role != "assistant" or self._turn_end.within(self._text[start:end], message) is not None:
            return end
        return end + len(self._turn_end.token_at(self._text[end:]) or "")

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
        if self._may_begin_with_marks:
            head = self._turns.head_of_answer()
            shown = shown[: shown.rindex(head) + len(head)] if head in shown else shown
        return shown.rstrip(" ")  # in many vocabularies a space is a part of the word behind it

    def _through(self, i: int) -> str:
        """Return the text up to the end of turn `i`, without what ends a conversation and not the turn.

        Phi-3, for example, puts an end of text behind the last turn, whoever has it, unless it asks for an
        answer.
        """
        is_last = i + 1 == len(self._messages)
        through = self._text if is_last else self._without_prompt(i, self._turns.first(i + 1))
        if not self._end_of_text or not through.endswith(self._end_of_text):
            return through
        goes_on = self._turns.prompt_after(i + 1) if is_last else self._text
        shorter = through.removesuffix(self._end_of_text)
        is_of_the_turn = goes_on.startswith(through) or not goes_on.startswith(shorter)
        if is_last and self._has_no_other_end(i, shorter):
            return through  # the model has to be trained to stop
        return through if is_of_the_turn else shorter

    def _has_no_other_end(self, i: int, text: str) -> bool:
        """Return whether nothing stands behind the words of the last turn."""
        before = self._before(i)
        if not text.startswith(before):
            return False
        produced, words = squeezed(text[len(before) :]), squeezed(self._messages[i].content)
        return produced == words or (produced.endswith(words) and not self._turn_end.ends(produced))

    def _without_prompt(self, i: int, through: str) -> str:
        """Return the text up to the end of turn `i` without the prompt that Command A has behind any text."""
        if self._text.startswith(through) or not self._end_of_text:
            return through
        shorter = through[: through.rfind(self._end_of_text) + len(self._end_of_text)]
        is_prompt = self._end_of_text in through and self._turns.prompt_after(i + 1) == through
        return shorter if is_prompt and self._text.startswith(shorter) else through

    def _refuse_rewritten(self, i: int, through: str) -> None:
        if not self._text.startswith(through):
            raise UnusableTemplate(
                f"the chat template rewrites messages[{i}] or what stands before it once later turns follow: "
                f"{_difference(through, self._text)}, so the assistant's part cannot be identified"
            )


def _difference(expected: str, found: str) -> str:
    """Describe for a person where two texts part."""
    place = len(os.path.commonprefix([expected, found]))  # noqa: RUF071 - of texts, not of paths
    begin, end = max(0, place - SHOWN_BEFORE), place + SHOWN_AFTER
    shown = [printable(text[begin:end]) if text[begin:end] else "nothing" for text in (expected, found)]
    return f'at character {place + 1} expected "{shown[0]}", found "{shown[1]}"'
