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

from scripts.document_tree import PAGE as TREE_PAGE
from scripts.document_tree import page as tree_page
from tests.test_architecture import ARROWS, PACKAGES
from trainer.config.document import MARKDOWN_FILE, SCHEMA_FILE, json_schema, markdown, meanings
from trainer.config.loader import load_settings
from trainer.config.schema import sections

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {
    "training_daemon": ["", "init", "start", "restart", "install-service"],
    "training_controller": ["pause", "resume", "stop", "skip", "status", "logs", "plot"],
    "training_queue": [
        *("add", "list", "status", "history", "show"),
        *("set-priority", "retry", "unadmit", "remove", "clear"),
    ],
    "training_health": ["check", "verify", "crashes", "diagnose", "unlock", "pin", "unpin"],
    "training_data": [
        *("convert", "split", "dedupe", "sample", "merge"),
        *("validate", "report", "show", "value", "flag", "generate", "analyze"),
    ],
    "training_models": [
        *("list", "show", "create", "note", "tag", "alias", "lineage", "diff-config"),
        *("rollback", "restore", "delete", "undelete", "report", "compare", "consolidate", "forget"),
        *("gates", "disk", "gc"),
        *(f"backup {act}" for act in ("create", "list", "verify", "restore", "drill", "prune")),
    ],
    "training_monitor": ["", "links", "stop"],
    "training": [
        "daemon",
        "daemon start",
        "controller status",
        "queue add",
        "health check",
        "data validate",
        "models list",
        "follow",
        "status",
        "logs",
        "plot",
    ],
}
NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


WITH_ACTS = ["backup"]  # subcommands that have subcommands
OF_ONE_NAME = ["daemon", "controller", "queue", "health", "data", "models", "monitor"]


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
        for key in kind.model_fields:
            assert meanings(kind).get(key), f"{section}.{key}"


def test_the_committed_configuration_is_valid():
    effective = load_settings(ROOT / "config.json", environment={})

    assert effective.settings.model.base_model == "tiny"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@cache
def help_of(command: str, subcommand: str = "") -> str:
    """Return what a command says of itself."""
    app = import_module(f"daemon.cli.{command}").app
    asked = [*subcommand.split(), "--help"]
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
def test_no_help_is_wider_than_the_narrowest_terminal(command):
    asked = ["", *COMMANDS[command]]

    too_wide = [line for sub in asked for line in help_of(command, sub).splitlines() if len(line) > 80]

    assert too_wide == []


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_and_ranges_are_written_as_people_write_them(command):
    odd = [
        f"{command} {subcommand}: {found}"
        for subcommand in COMMANDS[command]
        for found in re.findall(r"\{[A-Z]|\[\[|<=|>=|<[a-z]+\||922337203685477", help_of(command, subcommand))
    ]

    assert odd == []


@pytest.mark.parametrize(
    "words, usage",
    [
        (("training_queue", "add"), "add [OPTIONS] FILE..."),
        (("training_queue", "retry"), "retry [OPTIONS] [NAME]..."),
        (("training_daemon", "init"), "init [OPTIONS] [DIR]"),
        (("training_data", "merge"), "merge [OPTIONS] FILE... OUT"),
    ],
)
def test_a_usage_line_says_what_may_be_repeated_and_what_may_be_left_out(words, usage):
    assert help_of(*words).splitlines()[0].endswith(f" {usage}")


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


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_library_that_only_the_work_needs(command):
    code = (
        f"import sys; sys.argv = ['{command}', '--help']; from daemon.cli.{command} import main\n"
        "try: main()\n"
        "except SystemExit: print([name for name in ('pydantic', 'rich', 'numpy') if name in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [command for command, subs in COMMANDS.items() if subs != [""]])
def test_a_list_of_subcommands_cuts_no_description_off(command):
    listed = help_of(command).partition("Commands:")[2]

    assert listed
    assert "..." not in listed


def test_every_option_that_the_pages_use_exists():
    unknown = []
    # A line of prose may begin with the word "training", too
    commands = [
        name if name != "training" else r"training(?= (?:follow|status|logs|plot)\b)" for name in COMMANDS
    ]
    one_name = re.findall(rf"^training ({'|'.join(OF_ONE_NAME)}) (.*)$", all_text(), re.MULTILINE)
    text = "\n".join([all_text(), *(f"training_{name} {rest}" for name, rest in one_name)])
    for command, subcommand, rest in re.findall(
        rf"^({'|'.join(commands)}) ?((?:(?:{'|'.join(WITH_ACTS)}) )?[a-z-]*)(.*)$", text, re.MULTILINE
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


def test_the_committed_tree_is_that_of_the_docstrings():
    assert TREE_PAGE.read_text() == tree_page(), "run: python -m scripts.document_tree"


def rooms_of_the_picture() -> dict[str, int]:
    """Return how deep each room stands in the picture of the architecture; marked ones end in an asterisk."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    [picture] = re.findall(r"<!-- rooms -->\n```\n(.*?)```\n<!-- end of rooms -->", page, re.S)
    found: dict[str, int] = {}
    depth = [0, 0]
    for line in picture.splitlines():
        for column, part in enumerate(re.split("[║╫]", line, maxsplit=1)):
            depth[column] += "──" in part
            for room in re.findall(rf"\b(?:{'|'.join(PACKAGES)})\b(?:\.\w+)*(?: \*)?", part):
                assert room not in found, f"{room} is drawn twice"
                found[room] = depth[column]
    return found


def test_the_picture_of_the_rooms_agrees_with_their_arrows():
    drawn = {room.removesuffix(" *"): depth for room, depth in rooms_of_the_picture().items()}

    assert drawn.keys() == ARROWS.keys()
    assert [
        f"{room} imports {other}, which does not stand below it"
        for room, others in ARROWS.items()
        for other in sorted(others)
        if other.partition(".")[0] == room.partition(".")[0] and drawn[other] <= drawn[room]
    ] == []


def test_the_picture_marks_what_the_daemon_may_import():
    marked = {room.removesuffix(" *") for room in rooms_of_the_picture() if room.endswith("*")}

    assert marked == {
        other
        for room, others in ARROWS.items()
        for other in others
        if room.startswith("daemon") and other.startswith("trainer")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_of_code_that_a_page_names_exist(page):
    named = re.findall(r"`((?:trainer|daemon|tests|scripts)/[\w/.-]+)`", page.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_a_heading_lead_to_one(page):
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target if target else page).read_text(), re.M)

        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

        assert anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_every_script_the_readme_names_exists():
    for script in re.findall(r"\bscripts/[a-z_.]+", (ROOT / "README.md").read_text()):
        assert (ROOT / script).exists(), script


def test_continuous_integration_runs_exactly_the_test_script():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    assert lines[-1] == "exec scripts/test"
