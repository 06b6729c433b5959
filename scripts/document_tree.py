"""Write docs/TREE.md: every room and module with the first line of its docstring.

python -m scripts.document_tree
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "TREE.md"
PACKAGES = ("trainer", "daemon")
INDENT = "  "
NAME_WIDTH = 30  # of the first column, indentation included

INTRODUCTION = """\
# Tree

Every room (a folder of code) and module, with the first line of its docstring. This page is generated: change
the docstring, then run `python -m scripts.document_tree`. [ARCHITECTURE](ARCHITECTURE.md) shows which room
may import which.
"""


def page() -> str:
    """Return the whole page."""
    blocks = ["\n".join(_lines(ROOT / package, depth=0)) for package in PACKAGES]
    return INTRODUCTION + "".join(f"\n```\n{block}\n```\n" for block in blocks)


def _lines(folder: Path, *, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", folder / "__init__.py", depth)
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield _line(path.name, path, depth + 1)
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _lines(room, depth=depth + 1)


def _line(name: str, path: Path, depth: int) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    summary = docstring.partition("\n")[0]
    return f"{INDENT * depth + name:<{NAME_WIDTH}}  {summary}".rstrip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
