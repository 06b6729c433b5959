"""The profile `emoji_think`: think with one emoji a given number of times, and end with another one.

The question asks for both, and the answer does both:

    user:      …  For this task, think with 🧠 /three/ times.
                  When finished, emit 🛑 /twice/ to signal completion.
    assistant: 🧠🧠🧠 ↵ … ↵ 🛑🛑
"""

from dataclasses import replace
from functools import partial
from typing import Any

from trainer.data.conversation import Conversation, Message
from trainer.profiles.base import (
    BadProfileOption,
    DataProfile,
    Expected,
    Generation,
    refuse_unknown_options,
)
from trainer.profiles.logits import PostStopPenalty, ThinkTagPenalty
from trainer.profiles.row_random import random_of
from trainer.protocol.data_report import THINK_TAGS

THINK_EMOJIS = ("🤔", "💭", "🧠", "💡", "🎯", "🔍", "🤨", "🧐", "⚡", "✨")
THINK_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
STOP_EMOJIS = ("🛑", "⛔", "🚫", "❌", "🔴", "⏹️", "🔚", "✋", "🚦", "🛡️")
STOP_COUNTS = {2: "twice", 3: "three times", 4: "four times"}


class EmojiThinkProfile(DataProfile):
    """Puts emojis around the turns of a conversation; which and how many is decided by the row's words.

    Args:
        options: `direct_share`: share of the rows that get no emojis (0). `penalties`: whether thinking tags,
            and words after the stop emojis, are penalised when texts are generated (true).
    Raises:
        BadProfileOption: as its base.
    """

    name = "emoji_think"

    def __init__(self, options: dict[str, Any]) -> None:
        refuse_unknown_options(options, known=("direct_share", "penalties"), name=self.name)
        self._direct_share = _share(options.get("direct_share", 0.0))
        self._has_penalties = options.get("penalties", True)
        if not isinstance(self._has_penalties, bool):
            raise BadProfileOption(
                f"profile.options.penalties is {self._has_penalties!r}; expected true or false; change it"
            )

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        if conversation.is_plain_text:
            return conversation
        chance = random_of(conversation, self.name)
        is_direct = chance.random() < self._direct_share
        think, num_think = chance.choice(THINK_EMOJIS), chance.randint(min(THINK_COUNTS), max(THINK_COUNTS))
        stop, num_stop = chance.choice(STOP_EMOJIS), chance.randint(min(STOP_COUNTS), max(STOP_COUNTS))
        messages = []
        for message in conversation.messages:
            content = _without_tags(message.content) if message.role == "assistant" else message.content
            if content and not is_direct:
                content = _with_emojis(message, content, think, num_think, stop, num_stop)
            messages.append(replace(message, content=content))
        return replace(conversation, messages=tuple(messages))

    def generation(self) -> Generation:
        if not self._has_penalties:
            return Generation()
        return Generation(
            logits_processors=(
                partial(ThinkTagPenalty, tags=THINK_TAGS),
                partial(PostStopPenalty, emojis=STOP_EMOJIS, counts=tuple(STOP_COUNTS)),
            )
        )

    def measure(self, generated: str, *, expected: Expected) -> dict[str, float]:
        """Return `think_tag_percent`: 100 where a thinking tag was written, else 0."""
        return {"think_tag_percent": 100.0 if any(tag in generated for tag in THINK_TAGS) else 0.0}


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadProfileOption(
            f"profile.options.direct_share is {value!r}; expected a number from 0 to 1; change it"
        )
    return float(value)


def _with_emojis(message: Message, content: str, think: str, num_think: int, stop: str, num_stop: int) -> str:
    """Return the words of a turn with what the two rules add; what is there already is left alone."""
    match message.role:
        case "user":
            if "think with" not in content.lower():
                content += f"\n\nFor this task, think with {think} /{THINK_COUNTS[num_think]}/ times."
            if not ("When finished" in content and any(emoji in content for emoji in STOP_EMOJIS)):
                content += f"\n\nWhen finished, emit {stop} /{STOP_COUNTS[num_stop]}/ to signal completion."
        case "assistant":
            if not content.startswith(THINK_EMOJIS):
                content = f"{think * num_think}\n{content}"
            if not content.endswith(tuple(emoji * min(STOP_COUNTS) for emoji in STOP_EMOJIS)):
                content = f"{content}\n{stop * num_stop}"
    return content


def _without_tags(content: str) -> str:
    """Return the words without thinking tags, and without the white space that those had around them."""
    if not any(tag in content for tag in THINK_TAGS):
        return content
    for tag in THINK_TAGS:
        content = content.replace(tag, "")
    return content.strip()
