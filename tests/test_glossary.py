"""One word per thing: words that were given up come back neither in names of the code nor in the pages."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_architecture import MODULES, ROOT, tree_of

GLOSSARY = ROOT / "docs" / "GLOSSARY.md"
# The changelog tells of the past, and the tree repeats docstrings
PAGES = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.name != "TREE.md"
]

# A retired word in names (words joined by underscores; a regular expression) -> the word to use
RETIRED_IN_NAMES = {
    "foreman": "supervisor",
    "reception": "intake",
    "aftermath": "retry",
    "burials?": "the end of a worker",
    "(un)?learned": "trained, or supervised of tokens",
    "lone_tokenizer": "tokenizer only",
    "strangers?": "unknown files or names",
    "sightings?": "file probe",
    "checkups?": "health check",
    "deaths?": "crash",
    "cost_sheets?": "overhead",
    "(pause|row|fit)_memory": "pause file, word cache, batch size store: memory is RAM or GPU memory",
    "memory_folder": "ram folder",
    "fit": "batch size finder",
    "rehears(e|al|als)": "trial steps",
    "abilit(y|ies)": "requirements",
    "noise_on_embeddings": "neftune",
    "shares_of_step": "sharding",
    "mirror(_of)?": "linked models",
    "opaque": "template analysis",
    "sketch(es|ed)?": "minhash",
    "means": "session resources",
    "line_to_daemon": "daemon link",
    "find_way": "forward strategy",
    "set_aside": "preempt a job, reject a row, quarantine a damaged file, untrainable row",
    "told": "reported, or given",
    "(un)?begun": "started",
    "look_at": "inspect",
}

# Names that stay although they match: (module or *, name) -> why
EXCEPTIONS = {
    ("*", "deaths"): "a table of the ledger, which people query",
    ("*", "begun_at"): "a column of the ledger, which people query",
    ("batch_size_store", "Fit"): "the content of `models/fit.json`",
    ("batch_size_store", "_fit"): "the content of `models/fit.json`",
    ("data", "fit_max_length"): "to fit a length to a file",
    ("evaluator", "means"): "averages",
}

# The same in sentences of the pages
RETIRED_IN_PAGES = {
    r"foreman|receptions?|aftermath|burials?|strangers?|sightings?|checkups?": "see the names above",
    r"(?<!power )deaths?(?! as exit code)": "crash",
    r"cost sheets?|rehearsals?|(pause|row|fit) memory": "see the names above",
    r"set(s|ting)? aside|sets? .{1,20} aside": "preempt, reject, quarantine, untrainable",
    r"was learned|is learned|are learned|were learned|what it learned": "trained, or supervised",
    r"begun": "started",
    r"told": "reported, given",
    r"goes on|go on with|going on at": "continues",
    r"comes? about": "say what makes it",
    r"looked at|looks? at|look at": "inspect, check, read",
    r"is at fault": "is to blame, or say what is wrong",
}
# Sentences of the pages that may keep such a word: a part of the line -> why
PAGE_EXCEPTIONS: dict[str, str] = {}


@cache
def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield what a module gives a name to: classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


ANY_RETIRED = re.compile(rf"(^|_)(?:{'|'.join(RETIRED_IN_NAMES)})(_|$)")


def retired_names(path: Path) -> Iterator[str]:
    names = {path.stem, *names_in(tree_of(path))}
    for name in sorted(name for name in names if ANY_RETIRED.search(snake(name))):
        for word, better in RETIRED_IN_NAMES.items():
            is_exception = ("*", name) in EXCEPTIONS or (path.stem, name) in EXCEPTIONS
            if re.search(rf"(^|_)(?:{word})(_|$)", snake(name)) and not is_exception:
                yield f"{path.relative_to(ROOT)}: {name} (use: {better})"


def test_no_name_uses_a_word_that_was_given_up():
    violations = [found for path in MODULES.values() for found in retired_names(path)]

    assert violations == [], "\n" + "\n".join(violations)


def sentences(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a page without what is quoted: code, messages, links' targets."""
    text = re.sub(r"```.*?```", lambda found: "\n" * found[0].count("\n"), page.read_text(), flags=re.S)
    text = re.sub(r"^(    .*|\$ .*)$", "", text, flags=re.M)
    text = re.sub(r"(?<![*\w])\*(?![* ])[^*]+\*(?!\*)", lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)|\"[^\"\n]*\"", "", text)
    yield from enumerate(text.splitlines(), start=1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_uses_a_word_that_was_given_up(page):
    violations = [
        f"{page.relative_to(ROOT)}:{number}: {found[0]!r} (use: {better})"
        for number, line in sentences(page)
        if not any(part in line for part in PAGE_EXCEPTIONS)
        for word, better in RETIRED_IN_PAGES.items()
        for found in re.finditer(rf"\b(?:{word})\b", line, re.I)
    ]

    assert violations == [], "\n" + "\n".join(violations)


def test_the_glossary_has_one_line_per_word():
    words = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", GLOSSARY.read_text(), re.M)
    nouns = [word for word in words if word != "word"]

    assert len(nouns) > 60
    assert sorted(nouns) == sorted(set(nouns))
