"""Say in our words what the library that reads command lines finds wrong with one."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.cli.command_names import owners_of
from trainer.protocol.text import printable

NO_COMMAND = re.compile(r"No such command (['\"])(?P<name>.*)\1\.(?: Did you mean (?P<near>.*)\?)?", re.S)
TOO_MANY = re.compile(r"Got unexpected extra argument\(s\) \((?P<words>.*)\)", re.S)
NOT_ONE_OF = re.compile(r"'(?P<value>.*)' is not one of (?P<choices>.*?)\.?", re.S)
OURS = "Value error, "  # what pydantic puts before a message of ours
# The kinds of pydantic's errors -> what was expected
EXPECTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
}


def usage_words(error: Any) -> str:
    """Return what is wrong with a command line, and which help says how it is written.

    Args:
        error: the library's; which attributes it has depends on its kind.
    """
    words = _what_is_wrong(error)
    return words if words.endswith("?") else f"{words}; see: {_command(error)} --help"


def is_bare_group(error: Any) -> bool:
    """Whether a subcommand is needed and none was typed, so that a person wants to see the help."""
    return type(error).__name__ == "NoArgsIsHelpError"  # for which the library has no public name


def _what_is_wrong(error: Any) -> str:
    kind, message = type(error).__name__, str(error.message)
    if is_bare_group(error):
        return "a subcommand is missing"
    if kind == "NoSuchOption":
        words = f"unknown option {printable(error.option_name)}{did_you_mean(error.possibilities or [])}"
        file = _file_like_option()
        return f"{words}; if the file {file} is meant, put -- before it: -- {file}" if file else words
    if kind == "BadOptionUsage":
        needs = "takes no value" if "not take a value" in message else "needs a value"
        return f"{printable(error.option_name)} {needs}"
    if kind == "MissingParameter":
        return f"{_name(error.param)} is missing"
    if kind == "BadParameter" and error.param is not None:
        return _bad_value(error)
    if found := NO_COMMAND.fullmatch(message):
        name = found["name"]
        near = [f"{_command(error)} {other}" for other in re.findall(r"'([^']*)'", found["near"] or "")]
        elsewhere = [] if near else [f"training_{owner} {name}" for owner in owners_of(name)]
        return f'unknown command "{printable(name)}"{did_you_mean(near or elsewhere)}'
    if found := TOO_MANY.fullmatch(message):
        return f"unexpected: {printable(found['words'])}{_taken(error)}"
    return printable(message.removeprefix(OURS).rstrip("."))


def _taken(error: Any) -> str:
    """Return what a command takes besides options, if it is exactly one thing."""
    context = getattr(error, "ctx", None)
    params = context.command.params if context else ()
    arguments = [param for param in params if param.param_type_name == "argument"]
    if len(arguments) != 1 or arguments[0].nargs != 1:
        return ""
    return f"; it takes one {_name(arguments[0])}"


def _file_like_option() -> str | None:
    """Return the first word of the command line that is the name of a file here and looks like an option."""
    words = (word for word in sys.argv[1:] if word.startswith("-"))
    return next((printable(word) for word in words if Path(word).exists()), None)


def _bad_value(error: Any) -> str:
    name, message = _name(error.param), str(error.message).removeprefix(OURS)
    if found := NOT_ONE_OF.fullmatch(message):
        choices = found["choices"].replace("'", "")
        return f'{name} is "{printable(found["value"])}"; expected one of {choices}'
    cause = error.__cause__
    problems = cause.errors(include_url=False) if hasattr(cause, "errors") else []
    if not problems or problems[0]["type"] == "value_error":  # a message of ours
        return f"{name}: {printable(message)}"
    return (
        f'{name} is "{printable(str(problems[0]["input"]))}"; expected {_expected(error.param, problems[0])}'
    )


def _expected(param: Any, problem: Mapping[str, Any]) -> str:
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    is_bounded = least is not None and (most is None or most > 2**53)  # else the limit is none of a person's
    kind, limits = problem["type"], problem.get("ctx") or {}
    if kind in EXPECTED:
        return EXPECTED[kind] + (f", at least {least:g}" if is_bounded else "")
    if kind == "greater_than_equal":
        return f"at least {limits['ge']:g}"
    if kind == "less_than_equal":
        return f"at most {limits['le']:g}"
    return f"something else: {printable(str(problem['msg']))}"


def _name(param: Any) -> str:
    """Return an option as it is typed, and an argument as the usage line has it."""
    return str(param.opts[0] if param.param_type_name == "option" else param.display_name_raw)


def did_you_mean(names: list[str]) -> str:
    """Return the end of a message about something unknown; empty if no name is near."""
    return f"; did you mean {' or '.join(map(printable, names))}?" if names else ""


def _command(error: Any) -> str:
    """Return the command whose help says more; `python -m` is named like the command that is installed."""
    program, context = Path(sys.argv[0]).stem, getattr(error, "ctx", None)
    if context is None:  # the library does not say of which subcommand an option lacks its value
        word = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
        return printable(f"{program} {word}".rstrip())
    root = context.find_root().command_path
    return printable(program + context.command_path.removeprefix(root))
