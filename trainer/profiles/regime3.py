"""The profile `regime3`: the final answer stands between markers, and in one form.

assistant: 2 and 3 make 5. <<ANS_START>> (add 2 3) = 5 <<ANS_END>>
"""

from dataclasses import replace
from typing import Any

from trainer.data.conversation import Conversation
from trainer.profiles.base import (
    BadProfileOption,
    DataProfile,
    Expected,
    Generation,
    refuse_unknown_options,
)
from trainer.profiles.expressions import MalformedExpression, canonical

START, END = "<<ANS_START>>", "<<ANS_END>>"
PLACES = ("whole", "last_line")


class Regime3Profile(DataProfile):
    """Marks the answer of every assistant turn, and brings expressions `(op arg …)` into one form.

    Args:
        options: `answer`: what is the answer of a turn without markers: the `whole` of it, or its
            `last_line` (`whole`).
    Raises:
        BadProfileOption: as its base.
    """

    name = "regime3"
    special_tokens = (START, END)

    def __init__(self, options: dict[str, Any]) -> None:
        refuse_unknown_options(options, known=("answer",), name=self.name)
        self._place = options.get("answer", PLACES[0])
        if self._place not in PLACES:
            raise BadProfileOption(
                f"profile.options.answer is {self._place!r}; expected one of {', '.join(PLACES)}; change it"
            )

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        messages = tuple(
            replace(message, content=self._rewritten(message.content)) if answers else message
            for message, answers in zip(conversation.messages, _which_answer(conversation), strict=True)
        )
        return replace(conversation, messages=messages)

    def faults(self, conversation: Conversation) -> tuple[str, ...]:
        turns = enumerate(zip(conversation.messages, _which_answer(conversation), strict=True))
        found = [(i, self._fault(message.content)) for i, (message, answers) in turns if answers]
        return tuple(f"messages[{i}]: {fault}" for i, fault in found if fault)

    def generation(self) -> Generation:
        return Generation(stop_strings=(END,))

    def measure(self, generated: str, *, expected: Expected) -> dict[str, float]:
        """Return `exact_match`: 1 if the answer is the expected one, both in their one form, else 0."""
        if expected is None:
            return {}
        found, wanted = (_comparable(self._answer(text)) for text in (generated, str(expected)))
        return {"exact_match": float(found == wanted)}

    def _rewritten(self, content: str) -> str:
        """Return the words of a turn with markers, and with the answer in its one form if it has one."""
        content = self._marked(content)
        if self._fault(content):
            return content  # it is trained as it is
        before, answer, after = _parts(content)
        if not answer.strip().startswith("("):
            return content
        return f"{before} {canonical(answer)} {after}"

    def _marked(self, content: str) -> str:
        match START in content, END in content:
            case False, False:
                before, answer = self._split(content.strip())
                return f"{before}{START} {answer} {END}"
            case False, True:
                return f"{START} {content}"
            case True, False:
                return f"{content} {END}"
        return content

    def _split(self, content: str) -> tuple[str, str]:
        """Return what stands before the answer of a turn without markers, and the answer."""
        if self._place == "whole":
            return "", content
        before, line_end, answer = content.rpartition("\n")
        return before + line_end, answer.strip()

    def _answer(self, text: str) -> str:
        """Return the answer of a text that somebody may have generated, with any markers or none."""
        if START not in text and END not in text:
            return self._split(text.strip())[1]
        return _parts(text)[1]

    def _fault(self, content: str) -> str | None:
        if content.count(START) > 1 or content.count(END) > 1:
            return f"several answers are marked; expected one {START} and one {END}"
        if START in content and content.find(END) in range(content.find(START)):
            return f"{END} comes before {START}; expected it after"
        try:
            canonical(self._answer(content))
        except MalformedExpression as error:
            return f"the answer begins as an expression, but {error}"
        return None


def _parts(content: str) -> tuple[str, str, str]:
    """Return what stands up to the last answer, the answer without its markers, and what follows it."""
    before, start, rest = content.rpartition(START)
    answer, end, after = rest.partition(END)
    return before + start, answer, end + after


def _which_answer(conversation: Conversation) -> list[bool]:
    """Say of each turn whether it is an answer of the assistant in words."""
    return [
        message.role == "assistant"
        and bool(message.content.strip())
        and not message.tool_calls
        and not conversation.is_plain_text
        for message in conversation.messages
    ]


def _comparable(answer: str) -> str:
    try:
        return canonical(answer)
    except MalformedExpression:
        return " ".join(answer.split())
