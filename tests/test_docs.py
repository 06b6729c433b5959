"""The documentation keeps its promises: complete, current, and its commands exist."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.config.document import MARKDOWN_FILE, SCHEMA_FILE, json_schema, markdown
from trainer.config.loader import load_settings
from trainer.config.schema import sections

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    "training_daemon": [""],
    "training_controller": ["pause", "resume", "stop", "skip", "status"],
    "training_queue": ["add", "list", "status", "set-priority", "retry", "remove"],
    "training_health": ["check", "verify", "crashes", "unlock", "pin", "unpin"],
    "training_data": [
        *("convert", "split", "dedupe", "sample", "merge"),
        *("validate", "report", "show", "value", "flag", "generate", "analyze"),
    ],
}
NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


def all_text() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def test_the_committed_schema_is_that_of_the_code():
    committed = json.loads((ROOT / "docs" / SCHEMA_FILE).read_text())

    assert committed == json_schema(), "run: python -m trainer.config.document"


def test_the_committed_page_of_settings_is_that_of_the_code():
    assert (ROOT / "docs" / MARKDOWN_FILE).read_text() == markdown(), "run: python -m trainer.config.document"


def test_every_setting_says_what_it_means():
    for section, kind in sections().items():
        assert kind.__doc__, section
        for key, field in kind.model_fields.items():
            assert field.description, f"{section}.{key}"


def test_the_committed_configuration_is_valid():
    effective = load_settings(ROOT / "config.json", environment={})

    assert effective.settings.model.base_model == "tiny"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@cache
def help_of(command: str, subcommand: str = "") -> str:
    """Return what a command says of itself."""
    app = import_module(f"daemon.cli.{command}").app
    asked = [*([subcommand] if subcommand else []), "--help"]
    result = CliRunner().invoke(app, asked, env=NARROW, catch_exceptions=False)
    assert result.exit_code == 0, f"{command} {subcommand}: {result.output}"
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented_and_explains_itself_with_an_example(command):
    written = all_text()

    names = {subcommand: f"{command} {subcommand}".strip() for subcommand in COMMANDS[command]}
    undocumented = [name for name in names.values() if name not in written]
    unexplained = [
        name for subcommand, name in names.items() if "Example" not in help_of(command, subcommand)
    ]

    assert (undocumented, unexplained) == ([], [])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_explains_itself_as_a_process_too(command):
    shown = subprocess.run(
        [sys.executable, "-m", f"daemon.cli.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | NARROW,
    ).stdout

    # Word by word from here on: before comes how it was started, and lines may break elsewhere
    said, expected = (text.partition("Options:")[2].split() for text in (shown, help_of(command)))
    assert said == expected != []


@pytest.mark.parametrize("command", [command for command, subs in COMMANDS.items() if subs != [""]])
def test_a_list_of_subcommands_cuts_no_description_off(command):
    listed = help_of(command).partition("Commands:")[2]

    assert listed
    assert "..." not in listed


def test_every_option_that_the_pages_use_exists():
    unknown = []
    for command, subcommand, rest in re.findall(
        rf"^({'|'.join(COMMANDS)}) ?([a-z-]*)(.*)$", all_text(), re.MULTILINE
    ):
        is_subcommand = subcommand and not subcommand.startswith("-")
        options = re.findall(
            r"(?<!\S)--[a-z-]+", f"{'' if is_subcommand else subcommand} {rest.partition('#')[0]}"
        )
        help_text = help_of(command, subcommand if is_subcommand else "")
        unknown += [f"{command} {subcommand} {option}" for option in options if option not in help_text]

    assert unknown == []


def test_every_configuration_that_the_pages_show_is_valid(tmp_path):
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(\{.*?)^```", all_text(), re.M | re.S)]
    shown = [block for block in blocks if block.keys() <= sections().keys()]

    assert len(shown) >= 2
    for content in shown:
        (tmp_path / "config.json").write_text(json.dumps(content))
        load_settings(tmp_path / "config.json", environment={})


def test_completion_is_shown_for_every_command():
    for command in COMMANDS:
        assert f"{command} --install-completion" in all_text()


def test_the_list_of_packages_has_every_module_and_nothing_else():
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    [block] = re.findall(r"^## Packages and arrows\n\n```\n(.*?)^$", page, re.M | re.S)
    package, listed = "", set()
    for line in re.sub(r"\(.*?\)", "", block).splitlines():
        [(start, names)] = re.findall(r"^(\S*) +(.*)", line)
        package = start or package  # a line without one goes on with that of the line before
        if package.endswith(".py"):
            listed.add(package)
        elif package != "daemon/cli":
            listed |= {f"{package.rstrip('/')}/{name}.py" for name in re.findall(r"\w+", names)}

    found = {
        str(path.relative_to(ROOT))
        for folder in ("trainer", "daemon")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "cli"
    }

    assert listed == found


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_script_the_readme_names_exists():
    for script in re.findall(r"\bscripts/[a-z_.]+", (ROOT / "README.md").read_text()):
        assert (ROOT / script).exists(), script


def test_continuous_integration_runs_exactly_the_test_script():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert lines[-1] == "exec scripts/test"
