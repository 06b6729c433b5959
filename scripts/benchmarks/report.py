"""Put results into docs/BENCHMARKS.md: each table between the two marks that bear its benchmark's name.

python -m scripts.benchmarks.report FOLDER [--document FILE]
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from scripts.benchmarks.results import NOT_MEASURED, text_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "BENCHMARKS.md"
MARKS = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
GIBI = 1024**3


def main() -> None:
    """Rewrite the document."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the benchmarks wrote their JSON")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    results = {path.stem: json.loads(path.read_text()) for path in sorted(options.folder.glob("*.json"))}
    options.document.write_text(filled(options.document.read_text(), results))


def filled(document: str, results: dict[str, dict[str, Any]]) -> str:
    """Return the document with the results between its marks, and `not measured` where there are none."""

    def replaced(found: re.Match[str]) -> str:
        result = results.get(found[2])
        content = rendered(result) if result else f"{NOT_MEASURED}\n"
        return f"{found[1]}\n{content}\n{found[3]}"

    return MARKS.sub(replaced, document)


def rendered(result: dict[str, Any]) -> str:
    """Return one benchmark's tables as Markdown, with where and how they were measured."""
    blocks = [_table(table) for table in result["tables"]]
    machine = result["machine"]
    facts = [
        result["measured_at"][:10],
        f"`{result['command']}`",
        machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}",
        f"{machine['memory_bytes'] / GIBI:.0f} GiB",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    ]
    quick = " A quick run: the figures mean little." if result["quick"] else ""
    return "\n".join([*blocks, f"Measured {'; '.join(facts)}.{quick}\n"])


def _table(table: dict[str, Any]) -> str:
    lines = [table["columns"], ["---", *["---:"] * (len(table["columns"]) - 1)]]
    lines += [[text_of(cell) for cell in row] for row in table["rows"]]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table['title']}\n\n{body}\n"


if __name__ == "__main__":
    main()
