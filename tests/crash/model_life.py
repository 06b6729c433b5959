"""What people do to a model besides training it: versions, going back, forgetting, backups.

Each act is a command of ours in a process of its own, as in another terminal. It may be refused, or die; only
what it leaves behind counts.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.lab import ROWS_APART, Lab
from tests.crash.life_evidence import damaged_checkpoint, damaged_versions, traces
from tests.crash.nursery import Forked
from tests.gate.files import noise
from tests.support import row, rows, write_jsonl
from trainer.protocol.files import file_sha256

VALIDATION_ROWS = 24
UNUSED_ROW = 500  # no file of the lab has so many
HARMFUL_ROWS = 48
RECENT = 12
"""Only so many of the newest files are forgotten: for an older one, most of the model is trained again."""
MOST_AT_ONCE = 3
REFUSED = (1, 3, 78, -9)  # it cannot be done, no daemon, a configuration that was just broken, killed
MODELS, QUEUE = "daemon.cli.training_models", "daemon.cli.training_queue"
TRACEBACK = "Traceback (most recent call last)"


def settings_for_life(folder: Path, name: str) -> dict[str, Any]:
    """Return settings of a lab `name` with which all acts have something to work on.

    Args:
        folder: where the lab will be; the file that the settings name is written beside it.
    """
    held_out = [row for n in range(VALIDATION_ROWS) for row in rows(1, start=ROWS_APART * n + UNUSED_ROW)]
    write_jsonl(folder / f"{name}-validation.jsonl", held_out)
    return {
        "validation": {"file": f"../{name}-validation.jsonl"},
        # Few rows, so that little time is spent on them; the model is so young that good files move it far
        "gate": {
            "enabled": True,
            "min_rows": VALIDATION_ROWS,
            "max_loss_increase": 0.5,
            "group_rows": 40,
            "max_outlier_fraction": 1.0,
        },
        "monitoring": {"max_overhead_percent": 100},
        "backup": {"to": f"../{name}-backups"},
    }


def harmful_rows(number: int, start: int) -> list[dict[str, Any]]:
    """Return rows that make the model worse: questions like all others, with random words as answers."""
    chance = random.Random(start)
    return [row(f"Say {i}.", noise(chance)) for i in range(start, start + number)]


def _weights(base: Path) -> list[str]:
    """Return the SHA-256 of the weights, of a whole model or of an adapter."""
    return [file_sha256(path) for path in (base / "models" / "current_model").glob("*model.safetensors")]


@dataclass
class Command:
    """One that runs."""

    act: str
    process: Forked
    output: Path
    file: str = ""
    """The one that is to be forgotten."""
    into: Path | None = None
    """Where a backup is restored for a trial."""


class ModelLife:
    """A person at the model of one lab.

    Args:
        seed: chooses what is done.
    """

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._chance = random.Random(seed)
        self._running: list[Command] = []
        self._outputs = lab.layout.base.with_name(f"{lab.layout.base.name}-commands")
        self._outputs.mkdir()
        self.begun: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.problems: list[str] = []
        self._to_be_forgotten: set[str] = set()  # asked for, without an answer
        for folder in ("skipped", "failed"):
            lab.may_end_in(folder)
        self.acts: list[Callable[[], None]] = [
            self.create_version,
            self.roll_back,
            self.forget,
            self.drop_harmful,
            self.retry,
            self.delete_version,
            self.free_disk,
            self.back_up,
            self.verify_backups,
            self.restore_backup,
        ]

    # ---- acts

    def create_version(self) -> None:
        self._begin("create version", MODELS, "create", "--note", "another one")

    def roll_back(self) -> None:
        how = self._chance.choice(["steps", "file", "to"])
        where = {
            "steps": lambda: str(self._chance.randint(1, 12)),
            "file": self._a_recent_file,
            "to": lambda: self._a_version() or "latest",
        }[how]()
        more = self._chance.choice([[], ["--requeue"]])
        self._begin(f"roll back --{how}", MODELS, "rollback", f"--{how}", where, *more, "--yes")

    def forget(self) -> None:
        more = self._chance.choice([[], [], ["--keep-versions"]])
        self._forget(self._a_recent_file(), *more)

    def _forget(self, name: str, *more: str) -> None:
        self._lab.may_vanish(name)
        self._to_be_forgotten.add(name)
        self._begin("forget", MODELS, "forget", name, *more, "--yes", file=name)

    def drop_harmful(self) -> None:
        self._lab.drop(HARMFUL_ROWS, self._chance.choice(["high", "normal"]), make=harmful_rows)

    def retry(self) -> None:
        found = sorted(self._lab.files_in("skipped") | self._lab.files_in("failed"))
        known = [name for name in found if name.startswith("file-")]
        if known:
            self._begin("retry", QUEUE, "retry", self._chance.choice(known))

    def delete_version(self) -> None:
        if version := self._a_version():
            self._begin("delete version", MODELS, "delete", version, "--yes")

    def free_disk(self) -> None:
        self._begin("free disk", MODELS, "gc", *self._chance.choice([[], ["--all"]]), "--yes")

    def back_up(self) -> None:
        version = self._a_version() if self._chance.random() < 0.3 else None
        more = ["--version", version] if version else []
        self._begin("back up", MODELS, "backup", "create", *more)

    def verify_backups(self) -> None:
        self._begin("verify backups", MODELS, "backup", "verify")

    def restore_backup(self) -> None:
        into = self._outputs / f"restored-{self.begun.total()}"
        self._begin("restore backup", MODELS, "backup", "restore", "--into", str(into), "--yes", into=into)

    def _a_recent_file(self) -> str:
        number = self._lab.num_dropped
        return f"file-{self._chance.randrange(max(0, number - RECENT), max(1, number))}.jsonl"

    def _a_version(self) -> str | None:
        found = sorted(path.name for path in (self._lab.layout.models / "versions").glob("v*"))
        return self._chance.choice(found) if found else None

    def begin_something(self) -> None:
        """Do anything, and wait until it is under way."""
        self.begin(self._chance.choice(self.acts))

    def begin(self, act: Callable[[], None]) -> None:
        """Do this, and wait until a process of its own works on it, or it is over."""
        act()
        is_up_to_gate = act == self.drop_harmful
        self._lab.until(
            lambda: self._is_at_work() or not (self._lab.num_waiting if is_up_to_gate else self.is_busy),
            f"the beginning of: {act.__name__}",
        )

    def _is_at_work(self) -> bool:
        return any(not name.startswith("training_") for name in self._lab.one_shots().values())

    # ---- commands

    def _begin(
        self, act: str, module: str, *arguments: str, file: str = "", into: Path | None = None
    ) -> None:
        self.look_after()
        if len(self._running) >= MOST_AT_ONCE:
            return
        output = self._outputs / f"{self.begun.total()}.txt"
        self.begun[act] += 1
        process = self._lab.run_command(module, *arguments, output=output)
        self._running.append(Command(act, process, output, file, into))

    @property
    def is_busy(self) -> bool:
        """Whether a command runs."""
        self.look_after()
        return bool(self._running)

    def look_after(self) -> None:
        """Note how commands have ended."""
        for command in [command for command in self._running if command.process.poll() is not None]:
            self._running.remove(command)
            self._note(command)

    def _note(self, command: Command) -> None:
        code, said = command.process.returncode, command.output.read_text(errors="replace")
        if code == 0:
            self.done[command.act] += 1
            self._to_be_forgotten.discard(command.file)
            if command.into:
                self.problems += damaged_checkpoint(command.into / "models" / "current_model")
        elif TRACEBACK in said or code not in REFUSED:
            self.problems.append(f"{command.act} ended with code {code}: {said[-2000:]}")
        else:
            self.refusals[f"{command.act}: {(said.strip().splitlines() or ['killed'])[-1]}"] += 1
        if command.into:
            shutil.rmtree(command.into, ignore_errors=True)

    def lines(self) -> list[str]:
        """Return what was done, and why some of it was not, for people."""
        acts = [
            f"{act:28}{count:6} begun, {self.done[act]} done" for act, count in sorted(self.begun.items())
        ]
        verdicts = [f"the gate: {outcome:18}{count:6}" for outcome, count in self._lab.verdicts()]
        forgotten = f"{'files forgotten':28}{len(self._lab.forgotten()):6}"
        went_back = f"{'times the model went back':28}{self._lab.times_back():6}"
        return [
            *acts,
            *verdicts,
            forgotten,
            went_back,
            *(f"  {n} x {why}" for why, n in self.refusals.most_common()),
        ]

    # ---- the end

    def come_to_an_end(self) -> None:
        """Wait for all answers, and ask again for what got none."""
        self._await_commands()
        for name in sorted(self._to_be_forgotten):
            self._forget(name)
            self._await_commands()

    def require(self, act: str, *arguments: str) -> None:
        """Do what must succeed, now that nothing else happens; note it as a problem if it does not."""
        before = self.done[act]
        self._begin(act, MODELS, *arguments)
        self._await_commands()
        if self.done[act] == before:
            said = (self._outputs / f"{self.begun.total() - 1}.txt").read_text(errors="replace")
            self.problems.append(f"{act}: {said[-2000:]}")

    def check_backups(self) -> None:
        """Make another backup, have all hashed again, and restore one."""
        self.require("back up", "backup", "create")
        self.require("verify backups", "backup", "verify")
        self.require("restore backup", "backup", "restore", "--into", str(self.restored), "--yes")

    @property
    def restored(self) -> Path:
        """Where the last backup is restored."""
        return self._outputs / "restored"

    def evidence(self) -> list[str]:
        """Return what does not add up, now that everything has been trained and stopped."""
        layout, dropped = self._lab.layout, self._lab.dropped
        forgotten = sorted(self._lab.forgotten())
        folders = [layout.base, layout.base.with_name(f"{layout.base.name}-backups"), self.restored]
        found = [*self.problems, *damaged_versions(layout.models)]
        for name in forgotten:
            found += traces(folders, dropped / name)
        versions = [str(path) for path in sorted((layout.models / "versions").glob("v*"))]
        if versions:
            loaded = self._lab.run("tests.crash.life_evidence", *versions)
            found += [loaded.stdout[-2000:] or loaded.stderr[-2000:]] if loaded.returncode else []
        if self.restored.exists() and _weights(layout.base) != _weights(self.restored):
            found.append("the weights that were restored differ")
        return found

    def _await_commands(self) -> None:
        self._lab.until(lambda: not self.is_busy, f"the end of {[item.act for item in self._running]}")
