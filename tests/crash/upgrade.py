"""Let old and present code go on with one working directory each, and compare all that they leave.

    scripts/upgradetest [OLD_COMMIT] [--new CHECKOUT] [--keep]

The old code makes the directory and loses its power in the middle of everything (half_way.py). Then there
are two of it: the second one's training files are hard links, so that both recognise them by their inodes.
In one the old code goes on, in the other the new code, and both find it under the same path. Weights,
optimizer and state must be the same to the byte, and so must the history but for times. Exit code 1 and a
line for the first difference; 2 if there was nothing to compare.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash import evidence
from tests.crash.checkout import ROOT, Checkout, NoSuchCommit, Workplace, WrongCode, checked_out
from tests.crash.half_way import NotHalfWay, make_half_way
from tests.crash.old_directory import NotPortable, make

# The last commit before the modules were put in order; its directories must go on for ever
OLD_COMMIT = "6d1e0c7"
# Command -> what of its answer is not compared: it is another one each time
QUESTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("training_controller", "status", "--json"): ("heartbeat_age_s",),
    ("training_controller", "status", "--previews", "--json"): (),
    ("training_queue", "list", "--all", "--json"): (),
    ("training_queue", "list", "--failed", "--json"): (),
    ("training_queue", "list", "--skipped", "--json"): (),
    ("training_health", "check", "--json"): ("message", "advice"),  # with numbers of the machine
    ("training_health", "verify", "--json"): (),
    ("training_health", "crashes", "--json"): (),
    ("training_data", "report", "half.jsonl", "--json"): (),
}
SHOWN = (  # of the status at the end
    *("status", "queue", "current_step", "tokens_seen", "samples_seen", "alerts"),
    *("loss", "validation_loss", "suite_scores"),
)


class Differs(AssertionError):
    """The two do not end alike, or one of them is not as it must be."""


def main() -> int:
    """Return 0 if the new code goes on like the old one, 1 if not, 2 if that could not be found out."""
    parser = argparse.ArgumentParser(
        prog="scripts/upgradetest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "old", metavar="OLD_COMMIT", nargs="?", default=OLD_COMMIT, help="default: %(default)s"
    )
    parser.add_argument("--new", metavar="CHECKOUT", type=Path, default=ROOT, help="default: this one")
    parser.add_argument(
        "--make-fixture", action="store_true", help="only make tests/corpus/old_directory anew"
    )
    parser.add_argument("--keep", action="store_true", help="keep the directories when all is well, too")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that daemon and checkout are cleared away
    folder = Path(tempfile.mkdtemp(prefix="upgradetest-"))
    try:
        with checked_out(wanted.old) as old:
            if wanted.make_fixture:
                make(old, folder)
            else:
                compare(old, Checkout(wanted.new), folder)
    except (NoSuchCommit, WrongCode, NotHalfWay, NotPortable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(
            f"FAILED: {error}\nexpected is what the old code does; everything is kept in {folder}",
            file=sys.stderr,
        )
        return 1
    if wanted.keep:
        print(f"everything is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 0


def compare(old: Checkout, new: Checkout, folder: Path) -> None:
    """Do all of it in `folder`.

    Raises:
        Differs: at the first difference.
    """
    work, twin = folder / "work", folder / "twin"
    with timed("the old code made a directory, and lost its power"):
        make_half_way(old, work)
    duplicate(work, twin)
    require_same(evidence.contents(work), evidence.contents(twin), "twin")
    with timed("the old code answered questions about it"):
        answers = ask(old, work)
    with timed("the old code went on to the end"):
        Workplace(old, work).go_on_to_the_end()
    left = remains(old, work)
    work.rename(folder / "old")
    twin.rename(work)  # the same path, in case that somebody remembers it
    with timed("the new code answered the same questions"):
        require_same(answers, ask(new, work), "answers")
    with timed("the new code went on to the end"):
        Workplace(new, work).go_on_to_the_end()
    require_same(left, remains(new, work), "remains")
    work.rename(folder / "new")
    print(f"the same to the byte: {len(left['ledger']['steps'])} steps, {len(left['places'])} files")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long it took."""
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:5.1f} s  {what}", flush=True)


def duplicate(base: Path, twin: Path) -> None:
    """Copy a working directory in which nothing runs; training files keep their identity as hard links."""

    def copy(source: str, target: str) -> None:
        is_training_file = Path(source).relative_to(base).parts[0] in ("inbox", "queue")
        if is_training_file:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(base, twin, symlinks=True, copy_function=copy)


def ask(code: Checkout, base: Path) -> dict[str, Any]:
    """Ask everything that can be asked while no daemon runs.

    Raises:
        Differs: a command fails without an answer, or leaves another directory behind.
    """
    place, before = Workplace(code, base), evidence.contents(base)
    answers: dict[str, Any] = {}
    for question, ignored in QUESTIONS.items():
        told = place.ask(*question)
        what = " ".join(question)
        try:
            answer = json.loads(told.stdout)
        except ValueError:
            raise Differs(f"{what} did not answer: exit code {told.returncode}, {told.stderr}") from None
        answers[what] = {"exit code": told.returncode, "answer": _without(answer, ignored)}
    require_same(before, after := evidence.contents(base), f"{base}: a command that only reads: ")
    if added := after.keys() - before.keys():
        raise Differs(f"{base}: a command that only reads has left {sorted(added)}")
    return answers


def _without(value: Any, ignored: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, ignored) for key, item in value.items() if key not in ignored}
    return [_without(item, ignored) for item in value] if isinstance(value, list) else value


def remains(code: Checkout, base: Path) -> dict[str, Any]:
    """Return what was left behind, now that everything is trained.

    Raises:
        Differs: it is not in order, whatever the other code leaves.
    """
    places = evidence.places(base)
    if doubled := {name: found for name, found in places.items() if len(found) > 1}:
        raise Differs(f"files in several places: {doubled}")
    if odd := [name for name in evidence.contents(base) if "corrupt" in name or name.endswith(".tmp")]:
        raise Differs(f"set aside or left over: {odd}")
    if miscounted := evidence.miscounted(base):
        raise Differs(miscounted[0])
    answers = ask(code, base)
    status = answers["training_controller status --json"]["answer"]
    return {
        "places": places,
        "ledger": evidence.ledger(base),  # before the checkpoint, because it names the step
        "checkpoint": evidence.checkpoint(base),
        "status": {key: status[key] for key in SHOWN},
        "queue": answers["training_queue list --all --json"],
        "health": answers["training_health check --json"],
        "exit codes": {question: answer["exit code"] for question, answer in answers.items()},
    }


def require_same(old: Any, new: Any, place: str) -> None:
    """Compare two values.

    Raises:
        Differs: at the first difference.
    """
    if found := evidence.first_difference(old, new, place):
        raise Differs(found)


if __name__ == "__main__":
    sys.exit(main())
