"""Make a working directory that stands in the middle of everything, as a power cut would leave it.

One file is trained to the end, one skipped, two have failed, one was overtaken half-way. Of one a
checkpoint has the first half, of another one, begun later, no checkpoint knows. Others wait in every folder
and in the inbox. There is a pause, and the settings have been changed since. How fast the machine is
decides only how many steps were taken.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crash.checkout import Checkout, Workplace
from tests.crash.evidence import newest_manifest, query
from tests.support import row, write_jsonl

NEVER_S = 1e6
SETTINGS: dict[str, dict[str, Any]] = {
    "training": {
        "learning_rate": 1e-3,
        "warmup_steps": 20,
        "schedule": "cosine",
        "batch_size": 2,
        "gradient_accumulation": 2,
        "micro_batch_tokens": 96,
        "replay_fraction": 0.25,
        "neftune_noise_alpha": 5.0,
        "cpu_threads": 1,
    },
    "data": {"max_length": 64, "max_bad_row_fraction": 0.05, "validation": "deep"},
    "validation": {
        "file": "validation.jsonl",
        "interval_steps": 20,
        "suites": {"sayings": "suite.jsonl"},
        "suite_max_new_tokens": 8,
    },
    "previews": {"prompts": ["Say 3."], "interval_steps": 20, "max_new_tokens": 8},
    "monitoring": {"max_overhead_percent": 100.0},  # else costs decide at which steps there is a measurement
    # Only where a pause or an overtaking asks for it: what is replayed depends on which files are saved
    "checkpoints": {"interval_s": NEVER_S, "group_commit_s": NEVER_S, "background": "never"},
    "daemon": {"rescan_s": 0.5, "min_free_bytes": 0},
}
CHANGED_LATER = {"learning_rate": 5e-4, "seed": 7}  # begun files keep what they began with
OVERTAKEN, HALF, BEGUN = "overtaken.jsonl", "half.jsonl", "begun.jsonl"
ADMITTED, DROPPED = "long.jsonl", "dropped.jsonl"
WAITING = {"urgent.jsonl": "high", "next.jsonl": "normal", "packed.jsonl.gz": "normal", "later.jsonl": "low"}
ROWS_WAITING = 14
BAD_ROW = '{"messages": ['


class NotHalfWay(RuntimeError):
    """A file ended before it could be interrupted; another try may succeed."""


def sayings(number: int, start: int, *, words: int = 0) -> list[dict[str, Any]]:
    """Return rows of different lengths, so that the tokens of a step tell its rows.

    Args:
        words: of each answer; 0 takes one to ten.
    """
    return [
        row(f"Say {i}.", " ".join([str(i)] * (words or 1 + i * i % 10))) for i in range(start, start + number)
    ]


def make_half_way(checkout: Checkout, base: Path, *, base_model: str = "tiny", rows: int = 240) -> None:
    """Have a checkout's daemon fill `base`, which need not exist, and pull the plug.

    Args:
        base_model: as `model.base_model`; a relative path must be there already.
        rows: of the file that is half trained at the end; the overtaken one has as many.
    Raises:
        NotHalfWay: this machine was too busy to interrupt a file.
    """
    base.mkdir(exist_ok=True)
    write_jsonl(base / "validation.jsonl", sayings(6, 9000))
    write_jsonl(base / "suite.jsonl", sayings(3, 9100))
    settings = SETTINGS | {"model": {"base_model": base_model}}
    _configure(base, settings)
    place = Workplace(checkout, base)
    try:
        _begin_and_end_some(place)
        _overtake(place, rows)
        _train_on_after_a_save(place)
        place.pull_the_plug()
        _pause_while_nothing_is_loaded(place)
    finally:
        place.pull_the_plug()
    _configure(base, settings | {"training": settings["training"] | CHANGED_LATER})
    place.tell("training_queue", "retry", ADMITTED, "--admit")
    _drop(base, DROPPED, sayings(ROWS_WAITING, 8000), "low")
    _refuse_if_not_half_way(base)


def _configure(base: Path, settings: Mapping[str, Any]) -> None:
    (base / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _begin_and_end_some(place: Workplace) -> None:
    """Have files end in every way."""
    place.start()
    place.until(lambda status: status["status"] == "idle", "the daemon waits for files")
    _drop(place.base, "broken.jsonl", [BAD_ROW] * 3)
    _drop(place.base, ADMITTED, sayings(ROWS_WAITING, 100, words=40))
    _drop(place.base, "first.jsonl", sayings(32, 0))
    place.until(lambda status: status["queue"]["recently_completed"] == 1, "the first file is trained")
    place.until(lambda status: status["queue"]["failed"] >= 2, "two files have failed")
    _drop(place.base, "unwanted.jsonl", sayings(800, 200))
    _until_training(place, "unwanted.jsonl")
    place.touch("skip")
    place.until(lambda status: status["queue"]["skipped"] == 1, "a file is skipped")


def _overtake(place: Workplace, rows: int) -> None:
    """Have an urgent file take over while others come in."""
    _drop(place.base, OVERTAKEN, sayings(rows, 2000), "low")
    _until_training(place, OVERTAKEN)
    _pause(place)
    _drop(place.base, HALF, [*sayings(rows, 4000), *[BAD_ROW] * 2], "high")
    _drop(place.base, BEGUN, sayings(rows // 2, 5000), "high")
    for number, (name, folder) in enumerate(WAITING.items(), start=60):
        _drop(place.base, name, sayings(ROWS_WAITING, 100 * number), folder)
    known = "SELECT display FROM jobs WHERE state = 'waiting'"
    place.until(
        lambda status: {row["display"] for row in query(place.base, known)} >= {HALF, BEGUN, *WAITING},
        "all files are taken in",
    )
    place.touch("resume")
    _until_training(place, HALF)


def _train_on_after_a_save(place: Workplace) -> None:
    """Save in the middle of a file, train it to its end and begin the next one, without another save."""
    _pause(place)
    place.touch("resume")
    _until_training(place, BEGUN)


def _pause_while_nothing_is_loaded(place: Workplace) -> None:
    """Have another daemon take over and remember a pause, without a worker."""
    place.touch("pause")
    place.start()
    place.until(lambda status: status["status"] == "paused", "a daemon has remembered the pause")


def _pause(place: Workplace) -> None:
    """Hold at the next step, which saves."""
    before = place.status()["last_checkpoint"]
    place.touch("pause")
    place.until(
        lambda status: status["status"] == "paused" and status["last_checkpoint"] != before,
        "training is held and saved",
    )


def _until_training(place: Workplace, name: str) -> None:
    """Wait for steps of a file; the ledger has them before the status."""
    taken = f"SELECT 1 FROM steps JOIN jobs ON id = job_id WHERE display = '{name}' AND file_step > 1"

    def is_training(status: dict[str, Any]) -> bool:
        if (place.base / "queue" / "recently_completed" / name).exists():
            raise NotHalfWay(f"{name} ended before it could be interrupted; try again, or give it more rows")
        return bool(query(place.base, taken))

    place.until(is_training, f"steps of {name}")


def _drop(base: Path, name: str, content: list[Any], folder: str = "") -> None:
    """Put a file into the inbox, whole."""
    partial = write_jsonl(base / "inbox" / f".{name}.part", content)
    if name.endswith(".gz"):
        partial.write_bytes(gzip.compress(partial.read_bytes(), mtime=0))
    partial.rename(base / "inbox" / folder / name)


def _refuse_if_not_half_way(base: Path) -> None:
    cursors = newest_manifest(base)["progress"]["cursors"].values()
    begun = {cursor["name"]: cursor["step"] for cursor in cursors}
    processed = sorted(path.name for path in (base / "queue" / "processing").iterdir())
    if begun.keys() != {OVERTAKEN, HALF} or not all(begun.values()) or processed != [BEGUN, HALF]:
        raise NotHalfWay(
            f"the newest checkpoint is in the middle of {begun}, and processing/ holds {processed}; "
            f"expected {OVERTAKEN} and {HALF}, and {BEGUN} begun after them; try again"
        )
