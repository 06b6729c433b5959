"""Find the turns of a long conversation without rendering it anew for each of them.

What stands around a turn depends on the turns beside it. So short stretches of the conversation are rendered
turn by turn, and what they show must be what the whole conversation shows, letter for letter.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from trainer.data.conversation import Conversation
from trainer.data.rendering.chat_template import Refused, ShownTurns, Tokenizer, UnusableTemplate
from trainer.data.rendering.rendered_turns import Answer, RenderedTurns

TURN = re.compile(r"messages\[(\d+)\]")
MANY_TURNS = 48  # up to so many, each is found by rendering all that comes before it
STRETCH = 10
OVERLAP = 2
CHECKED_WHOLE = (0.25, 0.5, 0.75)  # of the turns: whether later ones rewrite these


class _Stretch:
    """Some turns of a conversation, rendered by themselves behind its system messages and a question.

    Args:
        turns: which of the conversation's; the last so many of them follow each other.
    """

    def __init__(self, conversation: Conversation, turns: list[int], tokenizer: Tokenizer) -> None:
        part = replace(conversation, messages=tuple(conversation.messages[i] for i in turns))
        shown = ShownTurns(part, tokenizer)
        self.text = shown.first(len(turns))
        self._reading = RenderedTurns(part, self.text, shown, tokenizer)
        self._turns = turns
        self._place_of = {turn: place for place, turn in enumerate(turns)}
        self.offset = 0
        """Of its characters in the whole text."""

    def end_of(self, turn: int) -> int:
        with self._naming_turns():
            return self.offset + self._reading.end_of_first(self._place_of[turn] + 1)

    def answer(self, turn: int) -> Answer:
        """Return what the model has to produce in a turn, and the text of the stretch that has it all."""
        with self._naming_turns():
            (first, end), text = self._reading.answer(self._place_of[turn])
        return Answer((self.offset + first, self.offset + end), text)

    def end_of_turn(self, turn: int) -> int:
        with self._naming_turns():
            return self.offset + self._reading.end_of_turn(self._place_of[turn])

    def text_with_last_end(self) -> str:
        with self._naming_turns():
            return self._reading.text_with_last_end()

    @contextmanager
    def _naming_turns(self) -> Iterator[None]:
        """Have refusals name the turns of the conversation, not those of the stretch."""
        try:
            yield
        except Refused as refusal:
            reason = TURN.sub(lambda found: f"messages[{self._turns[int(found[1])]}]", refusal.reason)
            raise type(refusal)(reason, refusal.way_out) from refusal

    def segment(self, first: int, end: int) -> str:
        """Return the text between two places of the whole text."""
        return self.text[first - self.offset : end - self.offset]


class LongConversation:
    """Where the turns of one conversation stand in its text.

    Args:
        text: of the whole conversation.
        turns: shows any number of its turns.
    Raises:
        UnrenderableConversation, UnusableTemplate: as `render_text` does.
    """

    def __init__(
        self, conversation: Conversation, text: str, turns: ShownTurns, tokenizer: Tokenizer
    ) -> None:
        self._conversation = conversation
        self._tokenizer = tokenizer
        self._whole = text
        self._num_turns = len(conversation.messages)
        self._stretch_of: list[_Stretch] = []
        self._refuse_rewritten(RenderedTurns(conversation, text, turns, tokenizer))
        self._read()

    def answer(self, i: int) -> Answer:
        """Return what the model has to produce in turn `i`, and the text that has it all."""
        span, text = self._stretch_of[i].answer(i)
        return Answer(span, self._whole_that_ends_like(self._stretch_of[i], text))

    def text_with_last_end(self) -> str:
        """Return the text with the token that ends the last turn, whoever shows that."""
        last = self._stretch_of[-1]
        return self._whole_that_ends_like(last, last.text_with_last_end())

    def _whole_that_ends_like(self, stretch: _Stretch, text: str) -> str:
        """Return the whole text with what `text` has more than its stretch, behind the last turn."""
        added = "" if text == stretch.text else text[len(stretch.text.rstrip()) :]
        return self._whole.rstrip() + added if added else self._whole

    def end_of_turn(self, i: int) -> int:
        """Return after how many characters turn `i` ends, with the token that ends it, whoever shows that."""
        return self._stretch_of[i].end_of_turn(i)

    def end_of_first(self, number: int) -> int:
        """Return after how many characters the first turns end."""
        return self._stretch_of[number - 1].end_of(number - 1) if number else 0

    def _read(self) -> None:
        """Render stretch after stretch, and compare each with the whole."""
        first = 0
        while len(self._stretch_of) < self._num_turns:
            end, following = self._end_of_stretch(first)
            turns = [*self._lead(first), *range(first, end)]
            stretch = _Stretch(self._conversation, turns, self._tokenizer)
            if first:
                stretch.offset = self._stretch_of[first].end_of(first) - stretch.end_of(first)
            self._compare(stretch, first, end)
            self._stretch_of += [stretch] * (following + 1 - len(self._stretch_of))
            first = following

    def _end_of_stretch(self, first: int) -> tuple[int, int]:
        """Return where a stretch ends, and which turn the next one begins with.

        It begins with an answer, which has a question before it in any case; a further answer only where no
        first one is near.
        """
        length = STRETCH
        while (end := first + length) < self._num_turns:
            borders = range(end - OVERLAP, first, -1)
            answers = [turn for turn in borders if self._conversation.messages[turn].role == "assistant"]
            if answers:
                return end, next(filter(self._follows_question, answers), answers[0])
            length *= 2
        return self._num_turns, self._num_turns - 1

    def _follows_question(self, turn: int) -> bool:
        return self._conversation.messages[turn - 1].role in ("user", "tool")

    def _lead(self, first: int) -> list[int]:
        """Return the turns that a stretch needs before it: the system's, and a question."""
        messages = self._conversation.messages
        head = next((i for i in range(first) if messages[i].role != "system"), 0)
        question = next((i for i in reversed(range(first)) if messages[i].role == "user"), None)
        return [*range(head), *([] if question is None else [question])]

    def _compare(self, stretch: _Stretch, first: int, end: int) -> None:
        start = stretch.end_of(first) if first else 0
        stop = stretch.end_of(end - 2) if end < self._num_turns else len(self._whole)
        if stretch.segment(start, stop) != self._whole[start:stop]:
            raise UnusableTemplate(
                f"the chat template shows messages[{first}] to messages[{end - 1}] differently when they "
                "stand alone, so the assistant's parts cannot be identified",
                way_out=f"shorten the conversation to {MANY_TURNS} supervised turns, or use another "
                "model.chat_template",
            )

    def _refuse_rewritten(self, reading: RenderedTurns) -> None:
        roles = [message.role for message in self._conversation.messages]
        for share in CHECKED_WHOLE:
            borders = range(int(share * self._num_turns), self._num_turns)
            # Several results may share a turn of the template, which ends behind the last of them
            if number := next((border for border in borders if roles[border] != "tool"), None):
                reading.end_of_first(number)
