"""Refuse a chat template that takes too much time or memory: it is a program that came with a model.

A process of its own (`trainer.mains.try_template`) renders a few words with little memory and time.
"""

import json
import resource
from contextlib import suppress
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel

from trainer.data.rendering.chat_template import OF_PYTHON
from trainer.data.rendering.template_analysis import GenerationBlock, only_shows_content
from trainer.protocol.faults import UnusableModel
from trainer.protocol.one_shot import NoAnswer, OneShotOrder, OrderRefused, TimedOut, ask

MODULE = "trainer.mains.try_template"
CPU_S = 10
PATIENCE_S = 120.0  # on a machine that does much else; the limit above counts work only
MEMORY_BYTES = 2**30
MOST_CHARACTERS = 1_000_000

USER, ANSWER = {"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}
CONVERSATIONS = ([USER, ANSWER], [{"role": "system", "content": "a rule"}, USER, ANSWER, USER])


class TemplateOrder(OneShotOrder):
    """Try this template."""

    template: str


class TemplateResult(BaseModel):
    """What came of it."""

    is_modest: bool
    """Whether it showed a few words with little memory and few characters."""


def refuse_costly_template(
    template: str, place: str, way_out: str = "use another template, or have this one do less"
) -> None:
    """Make sure that a template shows a few words with little effort.

    Args:
        place: which template it is, and `way_out`: what to do about it, for the message.
    Raises:
        UnusableModel: it does not.
    """
    if only_shows_content(template):
        return  # nothing in it could take long
    needed = f"more than {CPU_S} seconds, {MEMORY_BYTES >> 20} MiB or {MOST_CHARACTERS:,} characters"
    try:
        if ask(MODULE, TemplateOrder(template=template), TemplateResult, timeout_s=PATIENCE_S).is_modest:
            return
    except TimedOut:
        needed = f"more than {PATIENCE_S:.0f} seconds"
    except (NoAnswer, OrderRefused):
        pass  # ended by the system at one of these limits, or stumbled over it
    raise UnusableModel(
        f"{place} needs {needed} to show four short turns; expected next to nothing; {way_out}"
    )


@lru_cache(maxsize=64)
def names_asked_for(template: str) -> frozenset[str]:
    """Return the names that a template looks up; none if it is no template."""
    try:
        return frozenset(find_undeclared_variables(_environment().parse(template)))
    except (TemplateError, RecursionError):
        return frozenset()


def limit_resources() -> None:
    """Have the system end this process if it takes much."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def try_template(order: TemplateOrder) -> TemplateResult:
    """Render a few words."""
    try:
        for messages in CONVERSATIONS:
            with suppress(TemplateError, *OF_PYTHON):  # which rows it refuses is another question
                if _length(order.template, messages) > MOST_CHARACTERS:
                    return TemplateResult(is_modest=False)
    except MemoryError:
        return TemplateResult(is_modest=False)
    return TemplateResult(is_modest=True)


def _length(template: str, messages: list[dict[str, str]]) -> int:
    """Return how many characters are shown, or that there are too many."""
    length = 0
    for part in _environment().from_string(template).generate(messages=messages, add_generation_prompt=True):
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
