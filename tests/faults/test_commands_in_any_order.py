"""Commands of all shapes, in any order and at the same time: nothing crashes, and the last word counts."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.app import run_daemon
from daemon.loop import Daemon
from tests.support import eventually

# In the order in which equally old ones are obeyed
PLACES = {
    "resume": "control/.resume", "pause": "control/.pause", "skip": "control/.skip", "stop": "control/.stop",
    "emergency": ".stop",
}  # fmt: skip
SHAPES = {
    "touch": b"", "garbage": b"\xff\x00{", "object": b'{"id": "1", "reason": "x"}', "list": b"[1]",
    "now": b'{"now": true}', "conflicting": b'{"now": false, "now": true}', "deep": b"[" * 4096,
    "a megabyte": b'{"reason": "' + b"x" * (1 << 20), "link": None, "dangling link": None, "folder": None,
    "full folder": None,
}  # fmt: skip
HELD = {"FAKE_HOLD": "a.jsonl:2"}


@dataclass(frozen=True)
class Command:
    """One command, as somebody leaves it."""

    name: str
    shape: str
    age: int
    """The higher, the older; equal ones are possible."""


def at_once(names):
    """Several commands that lie there when the daemon looks."""
    one = st.builds(Command, st.sampled_from(names), st.sampled_from(list(SHAPES)), st.integers(0, 2))
    return st.lists(one, max_size=4, unique_by=lambda command: command.name)


def lay_down(base, command, at):
    """Put a control file in place, with its time."""
    path = base / PLACES[command.name]
    match command.shape:
        case "link":
            path.symlink_to(base / "config.json")
        case "dangling link":
            path.symlink_to(base / "nowhere")
        case "folder" | "full folder":
            path.mkdir()
            if command.shape == "full folder":
                (path / "kept").touch()
        case shape:
            path.write_bytes(SHAPES[shape])
    os.utime(path, (at, at), follow_symlinks=False)


def in_order(commands):
    return sorted(commands, key=lambda command: (-command.age, list(PLACES).index(command.name)))


class Game:
    """Plays rounds of commands against a daemon, turn by turn, and compares it with what is documented."""

    def __init__(self, layout, daemon, rounds):
        self.layout = layout
        self.daemon = daemon
        self.rounds = rounds
        self.time = 2_000_000_000
        self.is_paused = self.is_stopping = self.is_over = False
        self.given = Counter()

    def play(self):
        for commands in self.rounds:
            self.time += 10
            for command in commands:
                lay_down(self.layout.base, command, self.time - command.age)
            self.is_over = self.daemon._turn()
            self.note(in_order(commands))
            self.compare()
            if self.is_over:
                return 0
        self.bring_to_an_end()
        return 0

    def note(self, commands):
        for command in commands:
            self.given[command.name] += 1
            if command.name in ("pause", "resume"):
                self.is_paused = command.name == "pause"
            self.is_stopping |= command.name in ("stop", "emergency")

    def compare(self):
        left = [place for place in PLACES.values() if os.path.lexists(self.layout.base / place)]
        assert left == []
        assert self.layout.pause_file.exists() == self.is_paused
        assert self.is_stopping or not self.is_over

    def bring_to_an_end(self):
        """Let the worker go on, and stop; the daemon must get there by itself."""
        (self.layout.base / "go").touch()
        self.rounds = []
        lay_down(self.layout.base, Command("stop", "now", 0), self.time + 10)
        eventually(self.daemon._turn, what="the end")


def kept_folders(base):
    return sum((path / "kept").exists() for path in [*base.glob(".stop.*"), *(base / "control").iterdir()])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(rounds=st.lists(at_once(["resume", "pause", "skip"]), max_size=6), last=at_once(list(PLACES)))
def test_the_last_command_wins_and_every_file_is_consumed(rig, monkeypatch, rounds, last):
    shutil.rmtree(rig.layout.base)
    rig.layout.create()
    rig.configure()
    rig.launcher.environment = HELD
    rig.drop("a.jsonl", 3, folder="queue/normal")
    played = [*rounds, last]
    games = []

    def run(daemon):
        games.append(Game(rig.layout, daemon, played))
        return games[0].play()

    monkeypatch.setattr(Daemon, "run", run)
    run_daemon(rig.layout.base, launcher=rig.launcher)

    full = sum(command.shape == "full folder" for commands in played for command in commands)
    assert kept_folders(rig.layout.base) == full
    [game] = games
    said = Counter(message.partition(":")[0] for message in rig.events("command"))
    assert said["resume"] == game.given["resume"]
    assert said["stop"] + said["stop_now"] >= game.given["stop"] + game.given["emergency"]
    assert said["pause"] <= game.given["pause"]
    assert [path.name for path in rig.layout.base.rglob("a.jsonl")] == ["a.jsonl"]


def test_a_command_that_is_as_old_as_an_earlier_one_is_obeyed_too(rig):
    """As when a prepared file is copied there again and again with its time."""
    rig.start()

    for name, state in [("pause", "paused"), ("resume", "idle"), ("pause", "paused")]:
        prepared = rig.layout.logs / name
        prepared.touch()
        os.utime(prepared, (2e9, 2e9))
        prepared.rename(rig.layout.control / f".{name}")

        rig.until_status(state)
