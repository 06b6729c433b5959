"""Hand rows to trackio. Runs in the environment that has it: imports nothing else of ours.

Standard input has one JSON object per line: {"project", "run", "run_id", "rows": [{"id", "step", "at",
"values"}], "config"}. Each is answered with a line: {"error": null} or {"error": "why"}. The id of a row
makes trackio ignore one that it has.
"""

import json
import sys
from typing import Any


def main() -> None:
    """Answer each line until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever the library prints is no answer
    storage: Any = None
    for line in sys.stdin:
        try:
            if storage is None:
                from trackio.sqlite_storage import SQLiteStorage

                storage = SQLiteStorage
            _log(storage, json.loads(line))
            error = None
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


def _log(storage: Any, order: dict[str, Any]) -> None:
    rows = order["rows"]
    storage.bulk_log(
        order["project"],
        order["run"],
        [row["values"] for row in rows],
        steps=[row["step"] for row in rows],
        timestamps=[row["at"] for row in rows],
        config=order["config"],
        log_ids=[row["id"] for row in rows],
        run_id=order["run_id"],
    )


if __name__ == "__main__":
    main()
