"""Try a chat template before it is used: it is a program that came with a model, and may never end.

    python -m trainer.model.template_trial <template

A process of its own renders a few words with little memory and time, and without the trainer's libraries.
"""

import json
import resource
import subprocess
import sys
from contextlib import suppress
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trainer.data.rendering.chat_template import OF_PYTHON
from trainer.data.rendering.template_analysis import GenerationBlock, only_shows_content
from trainer.protocol.child_process import own_environment
from trainer.protocol.faults import UnusableModel

COMMAND = [sys.executable, "-P", "-m", "trainer.model.template_trial"]
CPU_S = 10
PATIENCE_S = 120.0  # on a machine that does much else; the limit above counts work only
MEMORY_BYTES = 2**30
MOST_CHARACTERS = 1_000_000
TOO_MUCH = 3  # the exit code

USER, ANSWER = {"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}
CONVERSATIONS = ([USER, ANSWER], [{"role": "system", "content": "a rule"}, USER, ANSWER, USER])


def refuse_bomb(template: str, source: str) -> None:
    """Make sure that a template shows a few words with little effort.

    Raises:
        UnusableModel: it does not.
    """
    if only_shows_content(template):
        return  # nothing in it could take long
    try:
        result = subprocess.run(
            COMMAND, input=template.encode(), capture_output=True, timeout=PATIENCE_S, env=own_environment()
        )
    except subprocess.TimeoutExpired:
        needed = f"more than {PATIENCE_S:.0f} seconds"
    else:
        if result.returncode == 0:
            return
        needed = f"more than {CPU_S} seconds, {MEMORY_BYTES >> 20} MiB or {MOST_CHARACTERS:,} characters"
    raise UnusableModel(
        f'the chat template of base model "{source}" needs {needed} to show four short turns; expected next '
        'to nothing; set model.chat_template to "chatml", or use another copy of the model'
    )


def names_asked_for(template: str) -> set[str]:
    """Return the names that a template looks up; none if it is no template."""
    environment = _environment()
    try:
        return find_undeclared_variables(environment.parse(template))
    except (TemplateError, RecursionError):
        return set()


def main() -> int:
    """Render a few words; return the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    template = sys.stdin.buffer.read().decode()
    try:
        for messages in CONVERSATIONS:
            with suppress(TemplateError, *OF_PYTHON):  # which rows it refuses is another question
                if _length(template, messages) > MOST_CHARACTERS:
                    return TOO_MUCH
    except MemoryError:
        return TOO_MUCH
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
