"""Pull the plug at every marked place in the code: the next daemon goes on as if nothing had been."""

import ast
import signal
from collections.abc import Callable

import pytest

from tests.faults.site import ROOT, Site
from tests.support import rows
from trainer.protocol.failpoints import VARIABLE
from trainer.protocol.job import Outcome

FOLDERS = ("daemon", "trainer/protocol")
COUNTS = (1, 4)  # the first time, and in the midst of things
LONG_AT = 11  # steps of the model's life after the first one of `long.jsonl`


def failpoints() -> list[str]:
    """Return the names of all failpoints that a daemon can meet, as the code has them."""
    names = set()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="failpoint"), args=[ast.Constant(value=str(name))]):
                    names.add(name)
    return sorted(names)


@pytest.fixture
def site(tmp_path, fork_server):
    site = Site(tmp_path / "base", tmp_path / "output.txt", server=fork_server)
    yield site
    site.kill()


def fill(site: Site) -> None:
    """Drop files of all kinds: urgent ones, one that is refused, one that fails, one that is interrupted."""
    site.drop("urgent.jsonl", rows(2), folder="inbox/high")
    site.drop("first.jsonl", rows(3, start=10))
    site.drop("mended.jsonl", [*rows(3, start=20), "not JSON"])
    site.drop("refused.jsonl", ["not JSON"])
    site.drop("bad.jsonl", rows(2, start=30))
    site.drop("by_hand.jsonl", rows(2, start=40), folder="queue/normal")
    site.drop("long.jsonl", rows(4, start=50), folder="inbox/low")
    site.drop("last.jsonl", rows(2, start=60), folder="inbox/low")


def use(site: Site) -> None:
    """Pause, resume, interrupt and skip `long.jsonl` at its second step; give up when the daemon has died."""

    def until(condition: Callable[[], bool], what: str) -> bool:
        site.until(lambda: not site.is_running or condition(), what)
        return site.is_running

    def is_shown(state: str, step: int = LONG_AT) -> bool:
        wanted = {"status": state, "current_file": "long.jsonl", "file_step": 1, "current_step": step}
        return wanted.items() <= site.status().items()

    if until(lambda: is_shown("training"), "long.jsonl at its first step"):
        site.command("pause")
    if until(lambda: is_shown("paused"), "the pause"):
        site.command("resume")
    if until(lambda: is_shown("training"), "the end of the pause"):
        site.drop("sudden.jsonl", rows(2, start=70), folder="inbox/high")
    if until(lambda: is_shown("training", LONG_AT + 2), "the end of the interruption"):
        site.command("skip")


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", failpoints())
def test_a_daemon_that_dies_anywhere_is_continued_by_the_next_one_as_if_it_had_not(site, name, count):
    fill(site)
    site.start("drain", FAKE_BAD="bad.jsonl", FAKE_HOLD="long.jsonl:2", **{VARIABLE: f"{name}:{count}"})
    use(site)
    code = site.left()

    site.command("resume")  # a pause would hold
    site.start("drain", FAKE_BAD="bad.jsonl")

    assert site.left() in (0, 1), site.tail()  # 1: a file has failed
    assert code == -signal.SIGKILL or count > 1, f"{name} was not reached"
    site.assert_consistent()
    site.assert_every_step_is_noted()
    assert_all_ended_well(site)


def assert_all_ended_well(site: Site) -> None:
    places = site.places()
    assert {places["refused.jsonl"], places["bad.jsonl"]} == {"failed"}
    assert places.pop("long.jsonl") in ("skipped", "recently_completed")
    assert {places[name] for name in places.keys() - {"refused.jsonl", "bad.jsonl"}} == {"recently_completed"}
    for outcome in (Outcome.FAILED, Outcome.SKIPPED):
        for name in (name for name, folder in site.places().items() if folder == outcome):
            assert (site.layout.finished(outcome) / f"{name}.reason.json").exists(), name


def test_the_code_has_failpoints_in_every_part_of_the_daemon():
    parts = {name.partition(".")[0] for name in failpoints()}

    assert {"write", "move", "intake", "queue", "ledger", "supervisor", "control", "pause"} <= parts
