"""The examples in the help of every command: each can be typed as it stands."""

import importlib
import re
import shlex

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from daemon.cli.command_names import MODULES

PROGRAMS = {f"training_{name}": module for name, module in MODULES.items()}


def command_of(program):
    return get_command(importlib.import_module(PROGRAMS[program]).app)


def examples():
    """Return the examples without what is said of them."""
    found = {}
    for program in PROGRAMS:
        command = command_of(program)
        for texts in [command, *command.commands.values()]:
            lines = re.sub(r"\\\n\s*", "", texts.epilog or "").splitlines()
            typed = [line.strip() for line in lines if line.split() and line.split()[0] in PROGRAMS]
            found |= dict.fromkeys(re.sub(r"\s{3,}(?!-).*", "", line) for line in typed)
    return list(found)


@pytest.mark.parametrize("example", examples())
def test_an_example_can_be_typed_as_it_stands(example):
    program, *words = shlex.split(example)
    command, context = command_of(program), None

    while isinstance(command, TyperGroup):
        names = command.list_commands(context)
        at = next((place for place, word in enumerate(words) if word in names), len(words))
        context = command.make_context(program, [*words[:at], "--"], parent=context)
        program, *words = words[at:] or [""]
        command = command.get_command(context, program)
    if command:
        assert command.make_context(program, words, parent=context)
    else:
        assert not words
