"""The commands that messages name: each exists, with the options that the message gives it."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import daemon
import trainer
from daemon.cli.command_names import MODULES
from daemon.cli.training import SHORTCUTS

PROGRAMS = {f"training_{name}": module for name, module in MODULES.items()}
OF_ALL = {"--help", "--version", "--install-completion", "--show-completion"}
NAMED = re.compile(
    rf"\b(?:training_|training )(?P<name>{'|'.join([*MODULES, *SHORTCUTS])})\b(?P<rest>.*)", re.S
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# What ends a command in a sentence: punctuation, an argument that is filled in, or words around it
END = re.compile(r"[`;,()|\n]|\. |\.$|: |\s{2,}|(?<=\s)(?:and|or|if|while|until|says|shows|has|which)\b")
FILLED_IN = "\0"


@cache
def command_of(program):
    return get_command(importlib.import_module(PROGRAMS[program]).app)


def strings_of(path):
    """Yield every text of a module with its line; what is filled in at run time is one character."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
    } - {id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [
                str(value.value) if isinstance(value, ast.Constant) else FILLED_IN for value in node.values
            ]
            yield node.lineno, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value.replace("{here}", FILLED_IN)  # where the folder is put in


def advised():
    """Return every command that a text in the code names, with where it stands."""
    found = []
    for package in (daemon, trainer):
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            for line, text in strings_of(path):
                rest = text
                while named := NAMED.search(rest):
                    rest = named["rest"]
                    typed = END.split(NAMED.split(rest)[0])[0]
                    found.append((f"{path.relative_to(root.parent)}:{line}", named["name"], typed))
    return found


def problem_of(name, typed):
    """Return what is wrong with a command; None if it can be typed."""
    if name in SHORTCUTS:
        name, typed = "controller", f" {name}{typed}"
    command, context = command_of(f"training_{name}"), None
    words = typed.replace(FILLED_IN, " X ").split()
    options = set()
    while isinstance(command, TyperGroup):
        options |= {option for parameter in command.params for option in parameter.opts}
        word = next((word for word in words if not word.startswith("-")), None)
        names = command.list_commands(context)
        if word is None or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        if word not in names:
            return None if command.invoke_without_command else f"no subcommand {word}"
        words = words[words.index(word) + 1 :]
        command = command.get_command(context, word)
    options |= {option for parameter in command.params for option in parameter.opts}
    unknown = set(OPTION.findall(" ".join(words))) - options - OF_ALL
    return f"no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.long
def test_every_command_that_a_message_names_can_be_typed():
    commands = advised()

    wrong = [
        f"{place}: training_{name}{typed.replace(FILLED_IN, '…')}: {problem}"
        for place, name, typed in commands
        if (problem := problem_of(name, typed))
    ]

    assert not wrong, "\n".join(wrong)
    assert {name for _, name, _ in commands} >= set(MODULES)
    assert len(commands) > 150


@pytest.mark.parametrize(
    "name, typed, problem",
    [
        ("queue", " retry NAME --admit", None),
        ("queue", " retry NAME --admit --now", "no option --now"),
        ("queue", " requeue NAME", "no subcommand requeue"),
        ("models", f" backup create --to {FILLED_IN}", None),
        ("models", " backup make", "no subcommand make"),
        ("status", " --watch", None),
        ("status", " --follow", "no option --follow"),
        ("daemon", " --check-config", None),
    ],
)
def test_a_command_that_does_not_exist_is_found(name, typed, problem):
    assert problem_of(name, typed) == problem
