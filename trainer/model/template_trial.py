"""Refuse a chat template that takes too much time or memory: it is a program that came with a model.

A process of its own (`trainer.mains.try_template`) renders short conversations with little memory and time.
"""

import json
import resource
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel

from trainer.data.conversation import REASONING_KEYS
from trainer.data.rendering.chat_template import OF_PYTHON
from trainer.data.rendering.template_analysis import GenerationBlock
from trainer.model.template_cost import is_certainly_cheap
from trainer.protocol.faults import UnusableModel
from trainer.protocol.one_shot import NoAnswer, OneShotOrder, OrderRefused, TimedOut, ask

MODULE = "trainer.mains.try_template"
CPU_S = 10
PATIENCE_S = 120.0  # on a machine that does much else; the limit above counts work only
MEMORY_BYTES = 2**30
MOST_CHARACTERS = 1_000_000

TURNS = 60
Turn = dict[str, Any]

SYSTEM: Turn = {"role": "system", "content": "a rule"}
USER: Turn = {"role": "user", "content": "a question"}
ANSWER: Turn = {"role": "assistant", "content": "an answer"}
THOUGHT: Turn = {**ANSWER, **dict.fromkeys(REASONING_KEYS, "a thought")}
ARGUMENTS = {"what": "a word", "most": 3, "where": {"in": ["a", "list"]}}
PARAMETERS = {
    "type": "object",
    "properties": {
        "what": {"type": "string", "description": "a word", "enum": ["a word", "another"]},
        "most": {"type": "integer", "default": 1},
        "where": {
            "type": "object",
            "properties": {"in": {"type": "array", "items": {"type": "string"}}},
            "required": ["in"],
        },
    },
    "required": ["what"],
}
TOOL = {
    "type": "function",
    "function": {"name": "find", "description": "finds things", "parameters": PARAMETERS},
}
CALL_ID = "abcdefghi"  # as long as the templates of Mistral want it


class TemplateOrder(OneShotOrder):
    """Try this template."""

    template: str


class TemplateResult(BaseModel):
    """What came of it."""

    is_modest: bool
    """Whether it showed short conversations with little memory and few characters."""


def refuse_costly_template(
    template: str, place: str, way_out: str = "use another template, or have this one do less"
) -> None:
    """Make sure that a template shows short conversations with little effort.

    Args:
        place: which template it is, and `way_out`: what to do about it, for the message.
    Raises:
        UnusableModel: it does not.
    """
    if is_certainly_cheap(template):
        return
    needed = f"more than {CPU_S} seconds, {MEMORY_BYTES >> 20} MiB or {MOST_CHARACTERS:,} characters"
    try:
        if ask(MODULE, TemplateOrder(template=template), TemplateResult, timeout_s=PATIENCE_S).is_modest:
            return
    except TimedOut:
        needed = f"more than {PATIENCE_S:.0f} seconds"
    except (NoAnswer, OrderRefused):
        pass  # ended by the system at one of these limits, or stumbled over it
    raise UnusableModel(
        f"{place} needs {needed} to show {TURNS} short turns; expected next to nothing; {way_out}"
    )


@lru_cache(maxsize=64)
def names_asked_for(template: str) -> frozenset[str]:
    """Return the names that a template looks up; none if it is no template."""
    try:
        return frozenset(find_undeclared_variables(_environment().parse(template)))
    except (TemplateError, *OF_PYTHON):  # what is constant is computed here, such as 2**100000
        return frozenset()


def limit_resources() -> None:
    """Have the system end this process if it takes much."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def try_template(order: TemplateOrder) -> TemplateResult:
    """Render short conversations of every kind."""
    try:
        is_modest = _is_modest(order.template)
    except MemoryError:
        is_modest = False
    return TemplateResult(is_modest=is_modest)


def _is_modest(template: str) -> bool:
    # Which rows it refuses is another question, also here
    with suppress(TemplateError, *OF_PYTHON):
        compiled = _environment().from_string(template)
        for given in _conversations():
            with suppress(TemplateError, *OF_PYTHON):
                if _length(compiled, given) > MOST_CHARACTERS:
                    return False
    return True


def _conversations() -> Iterator[dict[str, Any]]:
    """Yield what a template may be given: each kind of turn, since it may refuse some."""
    said = [USER, ANSWER] * (TURNS // 2)
    thought = [USER, THOUGHT] * (TURNS // 2)
    for messages in (said[:2], said, said[:-1], thought):
        yield {"messages": messages}
        yield {"messages": [SYSTEM, *messages]}
    for arguments in (ARGUMENTS, json.dumps(ARGUMENTS)):  # DeepSeek's, for example, wants the text of JSON
        called = _calls(arguments) * (TURNS // 4)
        yield {"messages": called}
        yield {"messages": called, "tools": [TOOL]}
        yield {"messages": [SYSTEM, *called, USER], "tools": [TOOL]}


def _calls(arguments: Any) -> list[Turn]:
    """Return a question, a call with a thought, its result and an answer."""
    call = {"type": "function", "id": CALL_ID, "function": {"name": "find", "arguments": arguments}}
    calling = {**THOUGHT, "content": "", "tool_calls": [call]}
    result = {"role": "tool", "name": "find", "tool_call_id": CALL_ID, "content": "a result"}
    return [USER, calling, result, ANSWER]


def _length(template: Template, given: dict[str, Any]) -> int:
    """Return how many characters are shown, or that there are too many."""
    length = 0
    for part in template.generate(add_generation_prompt=True, **given):
        length += len(part)
        if length > MOST_CHARACTERS:
            break
    return length


def _environment() -> ImmutableSandboxedEnvironment:
    """Return what transformers lets templates use, whose loading would take a second."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **options)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": str, "dict": dict}
    return environment


def _refuse(message: Any) -> None:
    raise TemplateError(str(message))
