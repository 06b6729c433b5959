"""A working directory that an old release left in the middle of everything goes on under the present code.

`tests/crash/old_directory.py` says what is in it and how it was made.
"""

import json
import sys
from collections import defaultdict

import pytest

from tests.crash import evidence
from tests.crash.checkout import ROOT, Checkout, Workplace
from tests.crash.half_way import BEGUN, HALF, OVERTAKEN, WAITING
from tests.crash.old_directory import EXPECTED, recognise_files, steps, unpack
from tests.crash.upgrade import ask

TOLERANCE = 1e-3  # of losses: another kind of processor rounds otherwise


class PresentCode(Checkout):
    """The present code, but that a nursery forks the daemon's workers."""

    def __init__(self, nursery):
        super().__init__(ROOT)
        self._nursery = nursery

    def command(self, name, *arguments):
        if name != "training_daemon":
            return super().command(name, *arguments)
        module = "tests.end_to_end.run_command"
        return [sys.executable, "-P", "-m", module, str(self._nursery.address), *arguments]


@pytest.fixture(scope="module")
def code(nursery):
    return PresentCode(nursery)


@pytest.fixture
def base(tmp_path):
    unpack(tmp_path / "work")
    return tmp_path / "work"


def expected(how):
    return json.loads(EXPECTED.read_text())[how]


def ids(base, *states):
    """Return the jobs in these states by the names of their files."""
    listed = ",".join(f"'{state}'" for state in states)
    found = evidence.query(base, f"SELECT id, display FROM jobs WHERE state IN ({listed})")
    return {row["display"]: row["id"] for row in found}


def history(base):
    """Return what nobody may change any more: steps that a checkpoint has, what has ended, and events."""
    saved = evidence.newest_step(evidence.newest_manifest(base))
    ended = "('completed', 'skipped', 'failed')"
    queries = {
        "steps": f"SELECT global_step AS key, * FROM steps WHERE global_step <= {saved}",
        "jobs": f"SELECT id AS key, * FROM jobs WHERE state IN {ended}",
        "attempts": "SELECT job_id || number AS key, * FROM attempts WHERE ended_at IS NOT NULL",
        "validations": f"SELECT global_step AS key, * FROM validations WHERE global_step <= {saved}",
        "events": "SELECT id AS key, * FROM events",
    }
    return {
        name: {row["key"]: dict(row) for row in evidence.query(base, sql)} for name, sql in queries.items()
    }


def by_file(all_steps):
    """Return the rows, tokens and learning rate of every step of a file, in their order."""
    found = defaultdict(list)
    for _, name, *facts, _loss in all_steps:
        found[name].append(facts)
    return found


@pytest.mark.parametrize("how", ["recognised", "moved"])
def test_whoever_asks_before_the_present_daemon_has_opened_it_is_told_the_same_as_then(code, base, how):
    if how == "recognised":
        recognise_files(base)

    answers = ask(code, base)  # and it fails if something in the directory changes

    restart = answers["training_health verify --json"]["answer"]["restart"]
    assert evidence.first_difference(expected(how)["restart"], restart, "restart") is None


def test_every_file_goes_on_at_its_very_next_step_under_its_old_id(code, base):
    recognise_files(base)
    before, waiting = history(base), ids(base, "waiting", "processing")

    Workplace(code, base).go_on_to_the_end()

    assert waiting.items() <= ids(base, "completed").items()
    wanted = expected("recognised")
    found = steps(base)
    assert [step[:-2] for step in found] == [step[:-2] for step in wanted["steps"]]
    for column in (-2, -1):  # learning rate, loss
        taken = [step[column] for step in found]
        assert taken == pytest.approx([step[column] for step in wanted["steps"]], rel=TOLERANCE)
    assert evidence.first_difference(before, history(base), "history") is None
    assert evidence.places(base) == wanted["places"]
    assert evidence.miscounted(base) == []


def test_after_a_move_to_another_disk_begun_files_go_on_and_the_others_are_checked_anew(code, base):
    before, waiting = history(base), ids(base, "waiting", "processing")
    cursors = evidence.newest_manifest(base)["progress"]["cursors"]

    Workplace(code, base).go_on_to_the_end()

    completed = ids(base, "completed")
    assert {completed[name] for name in (HALF, OVERTAKEN)} == cursors.keys()
    assert completed[BEGUN] == waiting[BEGUN]  # started, but unknown to the checkpoint; known by its content
    unknown = {name: waiting[name] for name in WAITING}
    assert ids(base, "removed") == unknown
    assert not unknown.items() & completed.items()
    wanted = expected("moved")
    in_file = by_file(wanted["steps"])  # more urgent files may come in between
    in_file[BEGUN] = by_file(expected("recognised")["steps"])[BEGUN]  # by the settings it was started with
    assert by_file(steps(base)) == in_file
    assert evidence.first_difference(before, history(base), "history") is None
    assert evidence.places(base) == wanted["places"]
    assert evidence.miscounted(base) == []
