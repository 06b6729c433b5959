"""Keys that give a row a meaning which is not trained, as data, and the refusal of rows that have them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.reading.rows import BadRow
from trainer.protocol.row_fields import Fields

CHAT_FORMATS, QUESTION_ANSWER, TEXT, NO_FORMAT = (
    ("messages", "sharegpt", "conversation"),
    ("alpaca", "prompt_completion"),
    "text",
    "",
)
CONVERSATION_FORMATS = (*CHAT_FORMATS, *QUESTION_ANSWER)
EVERYWHERE = (*CONVERSATION_FORMATS, TEXT, NO_FORMAT)
ANSWER_KEYS = ("completion", "response", "output", "solution", "targets")
"""Two of them in one row are two answers. `answer` is none of them: beside another it is its short result."""
QUESTION_KEYS = ("instruction", "prompt", "problem", "question", "query", "inputs", "definition")
"""Two of them in one row are two questions, or an instruction and what it is about."""
RENDERED = ("prompt", "inputs")
"""They may repeat the question as somebody else's template shows it."""
CALLS = ("tool_calls", "function_call")
FLAG_WORDS = ("true", "false", "0", "1", "0.0", "1.0")


def has_content(value: Any) -> bool:
    """Whether a value is more than a number, a flag, or nothing."""
    return isinstance(value, str | list | dict) and bool(value)


def has_items(value: Any) -> bool:
    """Whether a value is a list or an object with something in it."""
    return isinstance(value, list | dict) and bool(value)


def is_given(value: Any) -> bool:
    """Whether a value is anything but null and the empty text."""
    return value is not None and value != ""


def is_flag(value: Any) -> bool:
    """Whether a value says yes or no, be it as a cell of a table, which is text."""
    if isinstance(value, str):
        return value.strip().lower() in FLAG_WORDS
    return isinstance(value, int | float) and value in (0, 1)


def is_no(value: Any) -> bool:
    """Whether a value is false itself."""
    return value is False


def has_steps(value: Any) -> bool:
    """Whether a value lists the steps of an answer."""
    return isinstance(value, dict) and has_items(value.get("steps"))


def has_choices(value: Any) -> bool:
    """Whether a value chooses something, be it with a flag."""
    return isinstance(value, dict) and any(choice not in (None, "", [], {}) for choice in value.values())


def is_prose(value: Any) -> bool:
    """Whether a value has more than one word: a single one, such as `on`, is a label."""
    return len(value.split(maxsplit=1)) > 1 if isinstance(value, str) else has_items(value)


@dataclass(frozen=True)
class Unsupported:
    """One kind of row that would be trained as something else than it is.

    Args:
        keys: a row with all keys of one of these sets is of the kind; the last one is the most telling.
        what: says what such rows are.
        instead: says what was expected, and how to get there.
        beside: the formats in whose rows these keys count.
        counts: whether a key with this value counts.
    """

    keys: tuple[tuple[str, ...], ...]
    what: str
    instead: str
    beside: tuple[str, ...] = EVERYWHERE
    counts: Callable[[Any], bool] = has_content

    def keys_in(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys by which a row is of the kind, if it is."""
        return next((keys for keys in self.keys if all(self.counts(row.get(key)) for key in keys)), ())

    def is_named(self, fields: Fields) -> bool:
        """Whether a person has named one of the keys, and so knows what it is."""
        names = fields.values()
        return any(key in names for keys in self.keys for key in keys)


UNSUPPORTED = (
    Unsupported(
        (
            ("chosen", "rejected"), ("rejected",), ("chosen_message", "rejected_message"),
            ("rejected_message",), ("rejected_response",), ("completion_a", "completion_b"),
            ("response_a", "response_b"), ("answer_a", "answer_b"), ("response_0", "response_1"),
            ("response_1", "response_2"), ("response_j", "response_k"), ("output_1", "output_2"),
            ("answer_0", "answer_1"), ("conversation_a", "conversation_b"), ("rejected_answer",),
            ("preferred_output", "non_preferred_output"), ("human_ref_A", "human_ref_B"),
        ),
        "preference pairs (DPO) are not trained",
        'expected one answer; remove the worse one and rename the better one to "completion" (a whole '
        'conversation: to "messages"), or name it in data.fields, such as {"completion": "chosen"}',
    ),
    Unsupported(
        (("label",), ("kto_tag",), ("desirable",)),
        "answers labelled good or bad (KTO) are not trained as such",
        "expected only answers to be learned; keep the rows whose label is true, and remove the key",
        CONVERSATION_FORMATS,
        is_flag,
    ),
    Unsupported(
        (("completions", "labels"),),
        "steps with labels (process rewards) are not trained",
        'expected one answer; keep the rows whose labels are all true, and join their steps as "completion"',
    ),
    Unsupported(
        (("label",),),
        "steps with labels (process rewards, as in PRM800K) are not trained",
        'expected one answer; join the steps that are right as "completion"',
        counts=has_steps,
    ),
    Unsupported(
        (("completions",), ("responses",), ("candidates",), ("generations",)),
        "several answers to one prompt are not trained",
        'expected one answer; keep the best one as "completion"',
        (*QUESTION_ANSWER, NO_FORMAT),
        has_items,
    ),
    Unsupported(
        (("role", "text", "message_id"),),
        "single messages of a tree (as in OASST) are not trained",
        'expected whole conversations; join each path through the tree into one row with "messages"',
    ),
    Unsupported(
        tuple((key,) for key in ("image", "images", "image_url", "audio", "audios", "video", "videos")),
        "images, sound and video are not trained",
        "expected text only; leave out such rows, or remove the key if the words need nothing else",
    ),
    Unsupported(
        (("label",), ("labels",)),
        "a text with a label (classification) would be trained without the label",
        'expected "text" alone, or "prompt" with "completion"; remove the key, or set data.fields to '
        '{"prompt": "text", "completion": "KEY"} if it is to be answered',
        (TEXT,),
        is_given,
    ),
    Unsupported(
        tuple((key,) for key in ("answer", "target", "summary", "code", *ANSWER_KEYS)),
        "a text with an answer would be trained without the answer",
        'expected "text" alone, or "prompt" with "completion"; remove the key, or set data.fields to '
        '{"prompt": "text", "completion": "KEY"}',
        (TEXT,),
    ),
    Unsupported(
        (("suffix",),),
        "filling in a middle is not trained",
        "expected a prompt that says everything; write the suffix into the prompt",
        (*QUESTION_ANSWER, NO_FORMAT),
    ),
    Unsupported(
        (("choices",), ("options",)),
        "the choices of a question would not be shown",
        "expected them in the words of the question; write them there, and remove the key",
        (*QUESTION_ANSWER, NO_FORMAT),
        has_items,
    ),
    Unsupported(
        (("passage",), ("document",), ("article",), ("paragraph",)),
        "a passage beside a question would not be shown",
        'expected it as "context"; set data.fields to {"context": "KEY"}, or remove the key',
        QUESTION_ANSWER,
        is_prose,
    ),
    Unsupported(
        (("documents",),),
        "documents beside a conversation would not be shown",
        "expected them in the words of a message; write them there, and remove the key",
        CONVERSATION_FORMATS,
        has_items,
    ),
    Unsupported(
        (("history",),),
        "earlier turns would not be trained",
        "expected them in the list with the others; put them in front there, and remove the key",
        CHAT_FORMATS,
        has_items,
    ),
    Unsupported(
        tuple((key,) for key in CALLS),
        "calls of tools beside an answer would be lost",
        'expected them in a message of the assistant; write the row as "messages", or remove the key',
        QUESTION_ANSWER,
    ),
    Unsupported(
        (("available_tools",),),
        "tools under this name would not be shown",
        'expected them as "tools"; rename the key, or remove it',
        CONVERSATION_FORMATS,
    ),
    Unsupported(
        (("system_message",), ("instructions",)),
        "instructions under this name would not be shown",
        'expected them as "system"; rename the key, or remove it',
        CONVERSATION_FORMATS,
        is_prose,
    ),
    Unsupported(
        (("chat_template_kwargs",),),
        "options of the chat template are not set row by row",
        'expected model.template_options, "system" for instructions, "tools" for tools; remove the key',
        CONVERSATION_FORMATS,
        has_choices,
    ),
    Unsupported(
        (("train",),),
        "a row is trained unless it is left out",
        'expected only rows to be learned; leave it out, or write "train": false into its messages',
        (*CONVERSATION_FORMATS, TEXT),
        is_no,
    ),
    Unsupported(
        tuple((key,) for key in (
            "reasoning", "reasoning_trace", "rationale", "cot", "chain_of_thought", "Complex_CoT", "think",
            "thought", "thoughts", "thinking_trajectory", "thinking_trajectories",
            "deepseek_thinking_trajectory", "gemini_thinking_trajectory", "deepseek_reasoning",
        )),
        "it may be the thoughts of the answer or a remark on it",
        'expected thoughts as "reasoning_content"; rename the key if they are to be learned, else remove it',
        QUESTION_ANSWER,
        is_prose,
    ),
)  # fmt: skip
TELLING = frozenset(keys[-1] for kind in UNSUPPORTED for keys in kind.keys).union(ANSWER_KEYS)

RENAME_THOUGHTS = 'rename it to "reasoning_content" if it is to be learned, else remove it'
LIST_CALLS = 'write it as the list "tool_calls" if it is to be learned, else remove it'
OWN_TURN = 'make it a turn of its own with the role "tool", or remove it'
BESIDE_TURNS = 'write it as "tools" of the row, beside the turns, or remove it'
MAKE_CONTENT = "make it the content if it is to be learned, else leave out the row"
MEDIA = "only text is trained; leave out the row, or remove the key if the words need nothing else"
UNSUPPORTED_IN_MESSAGES: Mapping[str, str] = {
    "refusal": MAKE_CONTENT,
    **dict.fromkeys(("thought", "thoughts", "thinking_content", "thinking_blocks"), RENAME_THOUGHTS),
    **dict.fromkeys(("reasoning_text", "reasoning_trace", "rationale"), RENAME_THOUGHTS),
    **dict.fromkeys(("cot", "chain_of_thought", "tool_plan"), RENAME_THOUGHTS),
    **dict.fromkeys(("tool_call", "toolCalls", "tool_use", "function_calls"), LIST_CALLS),
    **dict.fromkeys(("tool_result", "tool_results", "tool_response", "tool_responses"), OWN_TURN),
    **dict.fromkeys(("tool_output", "tool_outputs"), OWN_TURN),
    **dict.fromkeys(("tools", "functions"), BESIDE_TURNS),
    "chosen": "preference pairs (DPO) are not trained; keep the better answer as the content",
    "rejected": "preference pairs (DPO) are not trained; remove the key to train the content",
    "rejected_message": "preference pairs (DPO) are not trained; remove the key to train the content",
    "image": MEDIA,
    "images": MEDIA,
    "image_url": MEDIA,
    "audio": MEDIA,
    "video": MEDIA,
    "videos": MEDIA,
}
"""Keys of a message whose words would be lost, and the way out."""


CHANNELS_OF_THOUGHTS = ("analysis", "commentary")  # of gpt-oss


def refuse_unsupported(row: Mapping[str, Any], format: str, own: Sequence[str], fields: Fields) -> None:
    """Make sure that a row means what its format says.

    Args:
        format: its name; empty if the row has none.
        own: the keys by which the format was identified.
        fields: what a person names in `data.fields` is meant so, and not refused.
    Raises:
        BadRow: it means something else.
    """
    if TELLING.intersection(row).difference(own):  # seldom: most rows are spared the rest
        for kind in UNSUPPORTED:
            if format in kind.beside and (keys := kind.keys_in(row)) and not kind.is_named(fields):
                instead = kind.instead.replace("KEY", keys[0])
                raise BadRow(f"found {_quoted(keys)}: {kind.what}; {instead}")
        if format in QUESTION_ANSWER and own[1] not in fields:
            _refuse_two_answers(row, own[1])
    if format in QUESTION_ANSWER and own[0] not in fields:
        _refuse_two_questions(row, own[0])


def _refuse_two_answers(row: Mapping[str, Any], trained: str) -> None:
    for key in ANSWER_KEYS:
        if key != trained and has_content(row.get(key)) and row[key] != row[trained]:
            raise BadRow(
                f"found {_quoted((trained, key))}: two answers; expected one; remove the other, or name the "
                f'right one in data.fields, such as {{"completion": "{key}"}}'
            )


def _refuse_two_questions(row: Mapping[str, Any], asked: str) -> None:
    question = row[asked]
    for key in QUESTION_KEYS:
        if key != asked and key in row and isinstance(question, str) and is_prose(other := row[key]):
            is_repeated = other in question if isinstance(other, str) else False
            if not is_repeated and not (key in RENDERED and question in other):
                raise BadRow(
                    f"found {_quoted((asked, key))}: two questions; expected one; join them, remove one, or "
                    f'name one of them in data.fields, such as {{"context": "{key}"}}'
                )


def refuse_lost_words(message: Mapping[str, Any], place: str) -> None:
    """Make sure that no words of a message stand where nobody reads them.

    Raises:
        BadRow: some do.
    """
    if message.get("channel") in CHANNELS_OF_THOUGHTS:
        raise BadRow(
            f'{place}.channel is "{message["channel"]}", so it is no answer; expected thoughts as '
            '"reasoning_content" of the answer, and calls as its "tool_calls"'
        )
    if UNSUPPORTED_IN_MESSAGES.keys().isdisjoint(message):
        return
    for key, way_out in UNSUPPORTED_IN_MESSAGES.items():
        if has_content(message.get(key)):
            raise BadRow(f"found {place}.{key}, which would be lost; {way_out}")


def _quoted(keys: Collection[str]) -> str:
    return " with ".join(f'"{key}"' for key in keys)
