"""Questions that are put to the model: rows with known answers, and prompts of a person's own.

Read and rendered once, before a file is touched; asked again and again.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from trainer.config.loader import BadConfig
from trainer.config.schema import DataSettings, Settings
from trainer.data.conversation import Conversation, Message
from trainer.data.formats import read_conversation
from trainer.data.reading.rows import BadRow, Line, content_of, lines_of, parse_row
from trainer.data.reading.unpacking import BadArchive
from trainer.evaluation.validation import fixed_subset
from trainer.profiles.base import DataProfile
from trainer.protocol.row_fields import Fields
from trainer.protocol.text import printable

ANSWER, DIFFICULTY = "answer", "difficulty"  # of a row's metadata
MAX_DIFFICULTY_CHARACTERS = 40


@dataclass(frozen=True)
class QuestionRow:
    """A row of a file of questions.

    Args:
        answer: the expected one, as the row has it.
    """

    line_number: int
    conversation: Conversation
    answer: str
    difficulty: str | None


@dataclass(frozen=True)
class Question:
    """What is put to the model.

    Args:
        shown: the prompt as people see it.
        token_ids: the prompt as the model sees it, up to where its answer begins.
        answer: the expected one, as the row has it; None where nobody knows.
        right: texts that are right: the answer, and the turn that would be trained for it.
    """

    shown: str
    token_ids: list[int]
    answer: str | None = None
    right: tuple[str, ...] = ()
    difficulty: str | None = None

    def is_answered_by(self, text: str) -> bool:
        """Whether a text is one of the right ones, but for case and white space."""
        return normalised(text) in map(normalised, self.right)


def normalised(text: str) -> str:
    """Return a text in the form in which answers are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_question_rows(path: Path, setting: str, data: DataSettings, *, max_rows: int) -> list[QuestionRow]:
    """Check all rows of a file of questions, and return a fixed subset.

    Args:
        setting: names the file, for the message.
    Raises:
        BadConfig: there is no such file, or it holds a row that is no question.
    """
    expected = "expected rows like those trained, which end with the assistant's answer"
    try:
        num_rows = sum(1 for _ in _lines_of(path, data))
        if not num_rows:
            raise BadConfig(f"{setting} is {path}: it has no rows; {expected}")
        chosen = frozenset(fixed_subset(num_rows, max_rows))
        found = (_read_line(line, data) for line in _lines_of(path, data))
        return [row for position, row in enumerate(found) if position in chosen]
    except OSError as error:
        raise BadConfig(f"{setting} is {path}: {error.strerror}; expected a readable JSONL file") from error
    except (BadRow, BadArchive) as error:
        raise BadConfig(f"{setting} is {path}: {error}; {expected}") from error


def _lines_of(path: Path, data: DataSettings) -> Iterator[Line]:
    limits = {"max_line_bytes": data.max_line_bytes, "max_unpacked_bytes": data.max_unpacked_bytes}
    return (line for line in lines_of(path, **limits) if not line.is_blank)


def _read_line(line: Line, data: DataSettings) -> QuestionRow:
    try:
        content = content_of(line, max_line_bytes=data.max_line_bytes)
        return _read_row(line.number, parse_row(content), data.fields)
    except BadRow as error:
        raise BadRow(f"line {line.number}: {error}") from error


def _read_row(line_number: int, row: Any, fields: Fields) -> QuestionRow:
    metadata = row.get("metadata") if isinstance(row, dict) else None
    metadata = metadata if isinstance(metadata, Mapping) else {}
    answer = _as_text(metadata.get(ANSWER))
    conversation = read_conversation(row if answer is None else _ending_with(row, answer), fields)
    last = conversation.messages[-1]
    if conversation.is_plain_text or last.role != "assistant" or not last.content:
        raise BadRow(f"the last turn is of {last.role}, and metadata has no answer")
    difficulty = _as_text(metadata.get(DIFFICULTY))
    return QuestionRow(
        line_number,
        _only_last_is_trained(conversation),
        last.content if answer is None else answer,
        difficulty and printable(difficulty, limit=MAX_DIFFICULTY_CHARACTERS),
    )


def _as_text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else str(value)


def _ending_with(row: Any, answer: str) -> Any:
    """Return a row whose last turn is an answer; one that ends with the user's turn gets `answer`."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return row
    if messages[-1].get("role") == "assistant":
        return row
    return row | {"messages": [*messages, {"role": "assistant", "content": answer}]}


def _only_last_is_trained(conversation: Conversation) -> Conversation:
    *before, last = conversation.messages
    return replace(conversation, messages=(*(replace(message, is_trained=False) for message in before), last))


class QuestionMaker:
    """Turns rows and texts into questions, by the profile and the chat template of a job.

    Args:
        setting: names where they come from, for the message.
    """

    def __init__(
        self, settings: Settings, profile: DataProfile, tokenizer: PreTrainedTokenizerBase, *, setting: str
    ) -> None:
        self._max_length = settings.data.max_length
        self._profile = profile
        self._tokenizer = tokenizer
        self._setting = setting

    def of_row(self, row: QuestionRow) -> Question:
        """Return the question of a row.

        Raises:
            BadConfig: it cannot be rendered, or leaves no room for an answer.
        """
        transformed = self._profile.transform(row.conversation, line_number=row.line_number)
        *before, answer = transformed.messages
        prompt = replace(transformed, messages=tuple(before))
        return Question(
            _shown(row.conversation.messages[:-1]),
            self._token_ids(prompt, f"line {row.line_number}"),
            row.answer,
            (row.answer, answer.content),
            row.difficulty,
        )

    def of_text(self, number: int, text: str) -> Question:
        """Return the question of a text, which is a user's turn.

        Args:
            number: counted from 1.
        Raises:
            BadConfig: as `of_row`.
        """
        conversation = Conversation((Message("user", text),))
        transformed = self._profile.transform(conversation, line_number=number)
        return Question(text, self._token_ids(transformed, f"prompt {number}"))

    def _token_ids(self, conversation: Conversation, place: str) -> list[int]:
        text = self._render(conversation, place)
        token_ids: list[int] = self._tokenizer([text], add_special_tokens=False)["input_ids"][0]
        if len(token_ids) >= self._max_length:
            raise BadConfig(
                f"{self._setting}: {place} has {len(token_ids)} tokens, which leaves no room for an answer; "
                f"expected less than data.max_length ({self._max_length}); shorten it"
            )
        return token_ids

    def _render(self, conversation: Conversation, place: str) -> str:
        messages = [_for_template(message) for message in conversation.messages]
        system = self._profile.generation().system_prompt
        if system is not None and not any(message["role"] == "system" for message in messages):
            messages.insert(0, {"role": "system", "content": system})
        tools: list[Any] = [dict(tool) for tool in conversation.tools]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tools=tools or None, tokenize=False, add_generation_prompt=True
                )
            )
        except (TemplateError, ValueError, TypeError, LookupError) as error:
            raise BadConfig(
                f"{self._setting}: {place}: the chat template refuses the conversation: {error}; expected "
                "turns as in the rows that are trained"
            ) from error


def _for_template(message: Message) -> dict[str, Any]:
    calls = {"tool_calls": [dict(call) for call in message.tool_calls]} if message.tool_calls else {}
    return {"role": message.role, "content": message.content, **message.extra, **calls}


def _shown(messages: tuple[Message, ...]) -> str:
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)
