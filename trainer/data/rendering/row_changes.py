"""Changes of a row that may let a chat template show it: what a person would be told to do, done. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.data.rendering.parts import reasoning_of

ID_LENGTH = 9  # of a call, as the templates of Mistral want it

Call = tuple[int, int]
"""A call of a row: its turn, and its number among the turn's calls."""


@dataclass(frozen=True)
class RowChange:
    """Something that can be done to a row.

    Args:
        words: say what to do.
        of: does it; the conversation itself if there is nothing to do.
        loses: something that the row says is gone then.
    """

    words: str
    of: Callable[[Conversation], Conversation]
    loses: bool = False


def _each(change: Callable[[Message], Message]) -> Callable[[Conversation], Conversation]:
    return lambda row: replace(row, messages=tuple(map(change, row.messages)))


def _thoughts_in_words(message: Message) -> Message:
    thoughts = reasoning_of(message)
    if not thoughts:
        return message
    return replace(_without_thoughts(message), content=f"<think>\n{thoughts}\n</think>\n\n{message.content}")


def _without_thoughts(message: Message) -> Message:
    extra = {key: value for key, value in message.extra.items() if key not in REASONING_KEYS}
    return replace(message, extra=extra) if reasoning_of(message) else message


def _silent_calls(message: Message) -> Message:
    return replace(message, content="") if message.tool_calls and message.content else message


def _words_apart(row: Conversation) -> Conversation:
    def parts(message: Message) -> Iterator[Message]:
        if message.tool_calls and message.content.strip():
            yield replace(message, tool_calls=())
            message = replace(_silent_calls(message), extra={})
        yield message

    return replace(row, messages=tuple(part for message in row.messages for part in parts(message)))


def _one_call_a_turn(row: Conversation) -> Conversation:
    result_of = {call: i for i, call in calls_of_results(row).items()}
    moved: set[int] = set()
    messages: list[Message] = []
    for i, message in enumerate(row.messages):
        if len(message.tool_calls) < 2:
            if i not in moved:
                messages.append(message)
            continue
        for number, call in enumerate(_calls_apart(message)):
            messages.append(call)
            if (result := result_of.get((i, number))) is not None:
                messages.append(row.messages[result])
                moved.add(result)
    return replace(row, messages=tuple(messages))


def _calls_apart(message: Message) -> list[Message]:
    first, *others = message.tool_calls
    silent = replace(_silent_calls(message), extra={})
    return [
        replace(message, tool_calls=(first,)),
        *(replace(silent, tool_calls=(call,)) for call in others),
    ]


def _with_ids(row: Conversation) -> Conversation:
    calls = calls_of_results(row)
    messages: list[Message] = []
    for i, message in enumerate(row.messages):
        if message.tool_calls:
            named = tuple({**call, "id": _id(i, number)} for number, call in enumerate(message.tool_calls))
            message = replace(message, tool_calls=named)
        elif i in calls:
            message = replace(message, extra={**message.extra, "tool_call_id": _id(*calls[i])})
        messages.append(message)
    return replace(row, messages=tuple(messages))


def _id(turn: int, number: int) -> str:
    return f"{turn:04}{number:0{ID_LENGTH - 4}}"


def calls_of_results(row: Conversation) -> dict[int, Call]:
    """Return which call each tool result answers: the one that it names, or else the next one in order."""
    found: dict[int, Call] = {}
    named: dict[str, list[Call]] = {}  # the latest calls of each id that have no result yet
    for i, message in enumerate(row.messages):
        named |= _calls_by_id(i, message)
        wanted = message.extra.get("tool_call_id") if message.role == "tool" else None
        if isinstance(wanted, str) and named.get(wanted):
            found[i] = named[wanted].pop(0)
    taken = set(found.values())
    waiting: list[Call] = []
    for i, message in enumerate(row.messages):
        if message.tool_calls:
            waiting = [(i, number) for number in range(len(message.tool_calls)) if (i, number) not in taken]
        elif message.role == "tool" and i not in found and waiting:
            found[i] = waiting.pop(0)
    return found


def _calls_by_id(turn: int, message: Message) -> dict[str, list[Call]]:
    calls: dict[str, list[Call]] = {}
    for number, call in enumerate(message.tool_calls):
        if isinstance(call.get("id"), str):
            calls.setdefault(call["id"], []).append((turn, number))
    return calls


def _without_tools(row: Conversation) -> Conversation:
    kept = [
        replace(message, tool_calls=())
        for message in row.messages
        if message.role != "tool" and (message.content.strip() or not message.tool_calls)
    ]
    return replace(row, messages=tuple(kept), tools=())


def _system_in_question(row: Conversation) -> Conversation:
    roles = [message.role for message in row.messages[:2]]
    if roles != ["system", "user"]:
        return row
    system, question, *others = row.messages
    asked = replace(question, content=f"{system.content}\n\n{question.content}")
    return replace(row, messages=(asked, *others))


ROW_CHANGES = (
    RowChange(
        'write the thoughts into the words, as "<think>…</think>" before them', _each(_thoughts_in_words)
    ),
    RowChange(
        f'give every call an "id" of {ID_LENGTH} characters, and its result the same as "tool_call_id"',
        _with_ids,
    ),
    RowChange("give every call a turn of its own, with its result behind it", _one_call_a_turn),
    RowChange("make the words of a turn that calls tools a turn of their own", _words_apart),
    RowChange("remove the words of turns that call tools", _each(_silent_calls), loses=True),
    RowChange("say in the first question what the system says", _system_in_question),
    RowChange("remove the thoughts", _each(_without_thoughts), loses=True),
    RowChange("remove the tools with their calls and results", _without_tools, loses=True),
)
