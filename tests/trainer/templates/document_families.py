"""Write docs/data/families.md: what is supervised with the template of each family, and with which setting.

python -m tests.trainer.templates.document_families

Whatever the page says of a family is found out by rendering rows with its template.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from scripts.document_templates import ANSWER, CALL, CALLING, QUESTION, RESULT, SYSTEM, THINKING
from scripts.document_templates import picture as picture_of
from scripts.document_templates import tokenizer_of as with_training_template
from tests.trainer.templates.families import FAMILIES
from tests.trainer.templates.known_models import KNOWN, Known
from tests.trainer.templates.tokenizers_of_families import TOKENIZERS
from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import Refused
from trainer.data.rendering.example import TrainOn
from trainer.data.rendering.masks import mark, render_text
from trainer.model.training_templates import BY_NAME

PAGE = Path(__file__).parents[3] / "docs" / "data" / "families.md"
MOST_LINES = 14  # of a picture

INTRODUCTION = """\
# Families of chat templates

[All pages about data](../DATA.md)

What is supervised of a row, for each family of chat templates that the tests try: whether the model's own
template trains as it is (`model.chat_template: own`, the default), or which [training
template](chat-templates.md) it takes. The pictures are what `training_data show` prints of a small row, with
the supervised parts between ⟦ and ⟧. What a template does not show is left out of the row.

The templates are written anew for the tests. They treat turns as the published ones do, but tell less about
tools, have shorter default system messages, and some have simpler marks, such as `<s>` at the beginning. Look
at a row of yours with `training_data show`. This page is generated: change
`tests/trainer/templates/families/` or `tests/trainer/templates/known_models.py`, then run
`python -m tests.trainer.templates.document_families`.
"""
ANOTHER = (
    "the message about a row of yours names the templates that let it train, such as `chatml`, if there are "
    "any; or give a [file of your own](masks-and-templates.md#training-templates)"
)

TOOL = {"type": "function", "function": {"name": CALL["function"]["name"], "parameters": {"type": "object"}}}
SILENT_CALLING = replace(CALLING, extra={})
AGAIN, LATER = Message("user", "And in Ulm?"), Message("assistant", "19 degrees.")
LATER_THINKING = replace(LATER, extra={"reasoning_content": "So is that."})

PLAIN = Conversation((QUESTION, ANSWER, AGAIN, LATER))
WITH_SYSTEM = replace(PLAIN, messages=(SYSTEM, *PLAIN.messages))
THOUGHTS = Conversation((QUESTION, THINKING, AGAIN, LATER_THINKING))
ONE_THOUGHT = Conversation((QUESTION, THINKING))
CALLS = Conversation((QUESTION, SILENT_CALLING, RESULT, ANSWER))
CALLS_OF_TOOLS = replace(CALLS, tools=(TOOL,))
ID_WITH_NAME = f"functions.{CALL['function']['name']}:0"  # Kimi K2 shows nothing else of a call's name
NAMED_CALLS = Conversation(
    (
        QUESTION,
        replace(SILENT_CALLING, tool_calls=({**CALL, "id": ID_WITH_NAME},)),
        replace(RESULT, extra={**RESULT.extra, "tool_call_id": ID_WITH_NAME}),
        ANSWER,
    ),
    tools=(TOOL,),
)
THOUGHTS_AND_CALLS = Conversation((QUESTION, CALLING, RESULT, THINKING))
# The first that a template shows in few lines is its picture
SHOWN = (
    THOUGHTS_AND_CALLS,
    CALLS,
    replace(NAMED_CALLS, tools=()),
    replace(THOUGHTS, messages=(SYSTEM, *THOUGHTS.messages)),
    THOUGHTS,
)
SHOWN += (WITH_SYSTEM, PLAIN)
LAST = "`own` with `data.train_on: last_assistant`"
# What else to try where answers of several turns are refused, and what of it is supervised
LAST_RESORTS: tuple[tuple[Conversation, TrainOn, str, str], ...] = (
    (PLAIN, "last_assistant", LAST, "the last answer"),
    (THOUGHTS, "last_assistant", LAST, "the last answer, if it has thoughts"),
    (ONE_THOUGHT, "assistant", "`own` with rows of one answer", "the answer, if it has thoughts"),
)


@dataclass(frozen=True)
class Supervision:
    """What a tokenizer's template supervises."""

    tokenizer: Any
    _refusals: dict[str, str] = field(default_factory=dict)

    def refusal(self, row: Conversation, train_on: TrainOn = "assistant") -> str:
        """Return why a row is not trained; nothing if it is."""
        key = repr((row, train_on))
        if key not in self._refusals:
            try:
                render_text(mark(row, train_on), self.tokenizer, train_on)
            except Refused as refusal:
                self._refusals[key] = refusal.reason
            else:
                self._refusals[key] = ""
        return self._refusals[key]

    def trains(self, row: Conversation) -> bool:
        return not self.refusal(row)

    @cached_property
    def is_of_every_answer(self) -> bool:
        """Whether rows of several answers are trained."""
        return self.trains(PLAIN)

    @cached_property
    def parts(self) -> list[str]:
        """What of an answer is supervised beside its words."""
        calls = any(map(self.trains, (CALLS_OF_TOOLS, NAMED_CALLS)))
        found = {"thoughts": self.trains(THOUGHTS), "calls": calls}
        return [part for part, is_trained in found.items() if is_trained]

    @cached_property
    def ends(self) -> list[str]:
        """What ends answers: an earlier one, and the last one if that ends otherwise."""
        text, spans = render_text(PLAIN, self.tokenizer, "assistant")
        produced = [text[start:end] for start, end in spans]
        words = [message.content for message in PLAIN.messages if message.role == "assistant"]
        found = [one.partition(said)[2].strip() for one, said in zip(produced, words, strict=True)]
        return list(dict.fromkeys(f"`{end}`" for end in found))

    @cached_property
    def refused(self) -> list[str]:
        """Which rows are refused."""
        found = {
            "system messages": not self.trains(WITH_SYSTEM),
            "thoughts of earlier answers": self.trains(ONE_THOUGHT) and "thoughts" not in self.parts,
            "thoughts": not self.trains(ONE_THOUGHT) and "thoughts" not in self.parts,
            "tools": "calls" not in self.parts,
        }
        return [what for what, is_refused in found.items() if is_refused]

    @property
    def summary(self) -> str:
        """What is supervised, in a few words."""
        return ", ".join(["answers", *self.parts])

    def sentence(self) -> str:
        """Say what is supervised, where rows of several answers are trained."""
        parts = f" with its {' and '.join(self.parts)}" if self.parts else ""
        refused = f"; rows with {_listed(self.refused)} are refused" if self.refused else ""
        return f"every answer{parts}, and {_listed(self.ends)}, which ends it{refused}"

    def picture(self) -> str:
        """Return the first row that is shown in few lines; the one of the fewest if each needs more."""
        pictures = []
        for row in filter(self.trains, SHOWN):
            pictures.append(picture_of(row, self.tokenizer))
            if pictures[-1].count("\n") < MOST_LINES:
                return pictures[-1]
        return min(pictures, key=lambda shown: shown.count("\n"))


def page() -> str:
    """Return the whole page."""
    names = sorted((family.name for family in FAMILIES), key=lambda name: KNOWN[name].title.lower())
    options = {family.name: family.options for family in FAMILIES}
    sections = [_Section(KNOWN[name], Supervision(TOKENIZERS[name]), options[name]) for name in names]
    table = ["| family | models | trains with | supervised |", "|---|---|---|---|"]
    table += [section.row for section in sections]
    pictures: dict[str, str] = {}
    lines = [line for section in sections for line in section.lines(pictures)]
    return "\n".join([INTRODUCTION, *table, "", *lines])


@dataclass(frozen=True)
class _Section:
    """What the page says of one family."""

    known: Known
    own: Supervision
    options: Mapping[str, Any]
    """Of its template."""

    @cached_property
    def training(self) -> Supervision | None:
        """With the training template, if there is one."""
        name = self.known.training_template
        return _with_training_template(name, tuple(self.options.items())) if name else None

    @cached_property
    def last_resort(self) -> tuple[Conversation, TrainOn, str, str] | None:
        """What the own template trains though it refuses rows of several answers."""
        return next((one for one in LAST_RESORTS if not self.own.refusal(one[0], one[1])), None)

    @property
    def row(self) -> str:
        """What the table says."""
        title = self.known.title
        setting, trained = self._way()
        return f"| [{title}](#{_anchor(title)}) | {self.known.models} | {setting} | {trained} |"

    def _way(self) -> tuple[str, str]:
        """Return the setting that refuses the fewest rows, and what it supervises."""
        template = self.known.training_template
        linked = f"[`{template}`](chat-templates.md#{_anchor(template)})"
        own, training = self.own, self.training
        if own.is_of_every_answer and not training:
            return "`own`", own.summary
        if own.is_of_every_answer and training and set(own.refused) <= set(training.refused):
            return f"`own` or {linked}", own.summary
        if training:
            return linked, training.summary
        if self.last_resort:
            return self.last_resort[2:]
        return "another template", "nothing with its own"

    def lines(self, pictures: dict[str, str]) -> Iterator[str]:
        """Yield the section.

        Args:
            pictures: those of earlier sections, with their titles; this one's is added.
        """
        yield f"## {self.known.title}\n"
        yield f"- **Models**: {self.known.models}"
        yield f"- **`own`**: {self._own()}"
        if self.training:
            name = self.known.training_template
            yield f"- **`{name}`**: {self.training.sentence()}; [picture](chat-templates.md#{_anchor(name)})"
        yield ""
        if shown := self._picture():
            if shown in pictures:
                yield f"It looks like [{pictures[shown]}](#{_anchor(pictures[shown])}).\n"
            else:
                pictures[shown] = self.known.title
                yield f"```\n{shown}\n```\n"

    def _own(self) -> str:
        if self.own.is_of_every_answer:
            return f"trains as it is: {self.own.sentence()}"
        reason = f"rows of several answers are refused: *{_quotable(self.own.refusal(PLAIN))}*"
        if self.training:
            return reason
        if self.last_resort:
            _, _, setting, trained = self.last_resort
            return f"trains {trained} ({setting}); otherwise {reason}; {ANOTHER}"
        return f"{reason}; {ANOTHER}"

    def _picture(self) -> str:
        if self.own.is_of_every_answer:
            return self.own.picture()
        if self.training or not self.last_resort:
            return ""
        row, train_on, *_ = self.last_resort
        return picture_of(row, self.own.tokenizer, train_on)


@cache
def _with_training_template(name: str, options: tuple[tuple[str, Any], ...]) -> Supervision:
    return Supervision(with_training_template(BY_NAME[name], dict(options)))


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _anchor(title: str) -> str:
    """Return how a heading is linked."""
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return "".join(kept).replace(" ", "-")


def _quotable(reason: str) -> str:
    """Return a reason that Markdown shows as it is."""
    return reason.replace("<", "\\<").replace("*", "\\*").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
