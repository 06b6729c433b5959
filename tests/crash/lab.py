"""A working directory under fire: files are dropped, processes killed; at the end everything must add up."""

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from filelock import FileLock

from daemon.files.names import is_training_file
from daemon.files.notes import is_users_file
from tests.crash.forked_one_shots import MARK, one_shots_of
from tests.crash.nursery import Forked, ForkServer, name_of, workers_of
from tests.crash.run_daemon import RUNS_ALREADY
from tests.shallow import build_shallow
from tests.support import PATIENCE_S, eventually, files_below, rows, write_jsonl
from trainer.protocol.files import UnreadableFile, read_json
from trainer.protocol.layout import Layout
from trainer.protocol.status import State

ROOT = Path(__file__).parent.parent.parent
DROPOUT = 0.1
ROWS_APART = 1000  # numbers of the first rows of two files
SETTINGS: dict[str, dict[str, Any]] = {
    "training": {
        "learning_rate": 1e-3,
        "warmup_steps": 5,
        "batch_size": 2,
        "gradient_accumulation": 2,
        "micro_batch_tokens": 64,
        "lora_dropout": DROPOUT,
        "cpu_threads": 1,
    },
    "checkpoints": {"group_commit_s": 0.3, "interval_s": 0.2},
    "daemon": {
        "rescan_s": 0.5,
        "blocked_retry_s": 0.5,
        "backoff_max_s": 1.0,
        "max_attempts": 1000,  # here the files are not to blame
        "min_free_bytes": 0,
    },
}


def _is_dropped(name: str) -> bool:
    return is_training_file(name) and is_users_file(name)


class Nursery(ForkServer):
    """The process that forks workers and daemons; one serves many labs."""

    def __init__(self, folder: Path, *, patron: int | None = None) -> None:
        super().__init__(folder / "nursery", patron=patron)
        self.base_model = folder / "base"
        with FileLock(folder / "base.lock"):
            if not self.base_model.exists():
                build_shallow(self.base_model, dropout=DROPOUT)

    def workers(self, base: Path) -> list[psutil.Process]:
        """Return the workers that it has forked for one working directory."""
        return self._forked(base, "trainer.mains.worker")

    def followers(self, base: Path) -> list[psutil.Process]:
        """Return the followers that it has forked for one working directory."""
        return self._forked(base, "trainer.mains.follower")

    def _forked(self, base: Path, module: str) -> list[psutil.Process]:
        found = []
        for process in workers_of(base):
            with suppress(psutil.NoSuchProcess):
                if process.ppid() == self.pid and process.name() == name_of(module):
                    found.append(process)
        return found


class Lab:
    """One working directory, its daemon, and the faults that befall it.

    Args:
        seed: chooses the faults.
        method: as `training.method`.
        training, model, profile: more settings of these sections.
        background: as `checkpoints.background`.
        sections: more of the settings; the uninterrupted run goes without `previews`.
        forks_daemon: false to have the daemon, too, be as large as it is at a user's.
    """

    def __init__(
        self,
        base: Path,
        nursery: Nursery,
        *,
        seed: int,
        method: str = "full",
        background: str = "never",
        training: Mapping[str, Any] = MappingProxyType({}),
        model: Mapping[str, Any] = MappingProxyType({}),
        profile: Mapping[str, Any] = MappingProxyType({}),
        sections: Mapping[str, Any] = MappingProxyType({}),
        forks_daemon: bool = True,
    ) -> None:
        self.layout = Layout(base)
        self.layout.create()
        self._nursery = nursery
        self._forks_daemon = forks_daemon
        self._chance = random.Random(seed)
        self._dropped: dict[str, int] = {}
        self._refused: set[str] = set()
        self._ends = {"recently_completed"}  # folders of the queue
        self._may_vanish: set[str] = set()
        self.dropped = base.with_name(f"{base.name}-dropped")
        self.dropped.mkdir()
        self._daemon: subprocess.Popen[bytes] | Forked | None = None
        settings = SETTINGS | {
            "model": {"base_model": str(nursery.base_model)} | dict(model),
            "profile": dict(profile),
            "training": SETTINGS["training"] | {"method": method} | dict(training),
            "checkpoints": SETTINGS["checkpoints"] | {"background": background},
            **sections,
        }
        self.layout.config_file.write_text(json.dumps(settings))
        self.kills: Counter[str] = Counter()

    # ---- the user

    def drop(
        self,
        num_rows: int,
        folder: str = "normal",
        *,
        bad_rows: int = 0,
        packed: bool = False,
        make: Callable[[int, int], list[Any]] = rows,
    ) -> str:
        """Put a file of its own content into the inbox, whole.

        Args:
            make: called with how many rows it makes, and with a number of their own for the first of them.
        """
        number = len(self._dropped)
        name = f"file-{number}.jsonl" + ".gz" * packed
        content = [*make(num_rows, ROWS_APART * number), *[f'"Say {number}-{n}.' for n in range(bad_rows)]]
        self._dropped[name] = num_rows
        self._put(name, content, folder)
        return name

    def drop_bad(self) -> None:
        """Put a file into the inbox that must be refused."""
        name = f"bad-{len(self._refused)}.jsonl"
        self._put(name, ['{"messages": ['] * 3, "normal")
        self._refused.add(name)

    def _put(self, name: str, content: list[Any], folder: str) -> None:
        partial = self.layout.inbox / f".{name}.part"
        write_jsonl(partial, content)
        if name.endswith(".gz"):
            partial.write_bytes(gzip.compress(partial.read_bytes()))
        shutil.copyfile(partial, self.dropped / name)
        partial.rename(self.layout.inbox / folder / name)

    def skip(self) -> None:
        """Ask for the current file to be put aside."""
        self.may_end_in("skipped")
        self.ask("skip")

    def may_end_in(self, folder: str) -> None:
        """Expect from now on that files come to their end in a folder of the queue, too."""
        self._ends.add(folder)

    def arm(self, failpoints: list[str]) -> None:
        """Have the next workers die, one after the other, at these places."""
        (self.layout.base / "failpoints").write_text("\n".join(failpoints))

    def wait_to_be_overtaken(self, *, at_step: int) -> None:
        """Have the next worker train no further than this before a more urgent file takes over."""
        (self.layout.base / "overtaken-at").write_text(str(at_step))

    def fork_followers(self, is_wanted: bool) -> None:
        """Have the followers of the next workers forked, or started as they are at a user's."""
        wish = self.layout.base / "forks-followers"
        wish.touch() if is_wanted else wish.unlink()

    def ask(self, name: str) -> None:
        """Touch a control file."""
        (self.layout.control / f".{name}").touch()

    # ---- processes

    def start(self) -> None:
        module, arguments = "tests.crash.run_daemon", [str(self.layout.base), str(self._nursery.address)]
        with (self.layout.base / "output.txt").open("ab") as output:
            if self._forks_daemon:
                both = dict.fromkeys((1, 2), output.fileno())
                self._daemon = self._nursery.fork(module, arguments, both)
            else:
                command = [sys.executable, "-m", module, *arguments]
                self._daemon = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def run_command(self, module: str, *arguments: str, output: Path) -> Forked:
        """Start a command of ours as a person would, who looks at its output later."""
        with output.open("wb") as said, (self.layout.base / "output.txt").open("ab") as mark:
            return self._nursery.fork(
                module,
                [*arguments, "--base-dir", str(self.layout.base)],
                {1: said.fileno(), 2: said.fileno(), MARK: mark.fileno()},
                forks_one_shots=True,
            )

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module to its end."""
        return self._nursery.run(module, *arguments)

    def one_shots(self) -> dict[psutil.Process, str]:
        """Return the processes that carry out one order, and commands, with what they are called."""
        return one_shots_of(self.layout.base / "output.txt")

    def _start_again(self) -> None:
        """Start a daemon that found a command at work on the model, which it leaves alone."""
        if self._daemon and self._daemon.poll() == RUNS_ALREADY:
            self.start()

    def kill_daemon(self) -> None:
        if self._daemon:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def kill_workers(self) -> None:
        for worker in self.workers():
            worker.kill()

    def workers(self) -> list[psutil.Process]:
        return self._nursery.workers(self.layout.base)

    def followers(self) -> list[psutil.Process]:
        """Return the processes that share the steps of the workers."""
        started = [child for worker in self.workers() for child in worker.children()]
        real = [child for child in started if "trainer.mains.follower" in child.cmdline()]
        return [*real, *self._nursery.followers(self.layout.base)]

    def daemon_process(self) -> psutil.Process | None:
        try:
            return psutil.Process(self._daemon.pid) if self._daemon else None
        except psutil.NoSuchProcess:
            return None

    def kill_something(self) -> None:
        """Pull one plug at random, and start what does not start by itself."""
        one_shots = self.one_shots()
        what = self._chance.choice(
            ["worker", "daemon", "both", *["one-shot process"] * (3 * bool(one_shots))]
        )
        self.kills[what] += 1
        if what == "one-shot process":
            victim = self._chance.choice(sorted(one_shots, key=lambda process: process.pid))
            with suppress(psutil.NoSuchProcess):
                victim.kill()
            self.kills[f"of {one_shots[victim]}"] += 1
        if what in ("daemon", "both"):
            self.kill_daemon()
        if what in ("worker", "both"):
            self.kill_workers()
        if self._daemon is None:
            self.start()

    def stop(self) -> int:
        self.until_up()
        daemon = self._daemon
        assert daemon
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(PATIENCE_S)
        eventually(lambda: not self.workers(), timeout_s=PATIENCE_S, what="the worker's end")
        return code

    # ---- waiting

    def status(self) -> dict[str, Any]:
        try:
            return dict(read_json(self.layout.status_file))
        except (FileNotFoundError, UnreadableFile):
            return {}

    def completed(self) -> set[str]:
        return self.files_in("recently_completed")

    def ended(self) -> set[str]:
        """Return the files that nothing more is to happen to."""
        return set().union(*map(self.files_in, self._ends)) | self.forgotten()

    def may_vanish(self, name: str) -> None:
        """Expect that a file may be erased from now on."""
        self._may_vanish.add(name)

    def forgotten(self) -> set[str]:
        """Return the files that were erased."""
        gone = set(self._may_vanish)
        for _ in range(2):  # one that is just being moved may be overlooked once
            gone -= self._placed() if gone else set()
        return gone

    def _placed(self) -> set[str]:
        return {path.name for path in files_below(self.layout.inbox, self.layout.queue)}

    def files_in(self, folder: str) -> set[str]:
        return {name for name in os.listdir(self.layout.queue / folder) if _is_dropped(name)}

    def until_up(self) -> None:
        """Wait until the daemon has read its settings and says so."""

        def is_up() -> bool:
            assert self._daemon
            return self.status().get("daemon_pid") == self._daemon.pid

        self.until(is_up, "the daemon's first word")

    def until_step(self, step: int) -> None:
        self.until(lambda: (self.status().get("current_step") or 0) >= step, f"step {step}")

    @property
    def num_dropped(self) -> int:
        return len(self._dropped)

    @property
    def num_waiting(self) -> int:
        """Files that have not come to their end yet."""
        return len(self._waiting())

    def _waiting(self) -> set[str]:
        return self._dropped.keys() - self.ended()

    def worker_deaths(self) -> list[str]:
        """Return how the workers ended that did not end in order."""
        return [message for (message,) in self._query("SELECT message FROM deaths ORDER BY id")]

    def num_checkpoints(self) -> int:
        return len(list((self.layout.models / "checkpoints").glob("step-*")))

    def times_preempted(self) -> int:
        """Return how often a file was overtaken."""
        return int(self._query("SELECT count(*) FROM attempts WHERE verdict = 'preempted'")[0][0])

    def times_back(self) -> int:
        """Return how often the model went back, for whatever reason."""
        return int(self._query("SELECT count(*) FROM branches")[0][0])

    def verdicts(self) -> list[tuple[str, int]]:
        """Return how often the gate came to which verdict."""
        found = self._query("SELECT outcome, count(*) FROM gate_verdicts GROUP BY 1 ORDER BY 1")
        return [(outcome, count) for outcome, count in found]

    def num_replayed(self) -> int:
        """Return how many rows of earlier files were trained among those of later ones."""
        return int(self._query("SELECT coalesce(sum(replayed), 0) FROM steps")[0][0])

    def previewed_steps(self) -> list[int]:
        """Return the steps at which prompts were answered."""
        return [step for (step,) in self._query("SELECT global_step FROM previews ORDER BY global_step")]

    def order(self) -> list[str]:
        """Return the files in the order of their last steps."""
        last = "(SELECT max(global_step) FROM steps WHERE job_id = jobs.id)"
        return [name for (name,) in self._query(f"SELECT display FROM jobs ORDER BY {last}")]

    def until_another_step(self) -> None:
        """Wait until training has gone on, or there is nothing left to train.

        What a crash or going back has cost is gone from the ledger before the next step is there.
        """
        self.until(self.layout.ledger_file.exists, "the ledger")
        least = self.num_steps()

        def has_gone_on() -> bool:
            nonlocal least
            now = self.num_steps()
            least = min(least, now)
            return not self.num_waiting or now > least

        self.until(has_gone_on, f"a step after {least}")

    def until_done(self) -> None:
        """Wait until nothing is left to do, as long as files end. After an hour there may be hundreds."""

        def is_done() -> bool:
            return not self.num_waiting and self.status().get("status") == State.IDLE

        while not is_done():
            before = self.num_waiting
            try:
                self.until(lambda before=before: is_done() or self.num_waiting != before, "the end of a file")
            except AssertionError as error:
                raise AssertionError(f"{error}\nwaiting: {sorted(self._waiting())}") from None

    def until(self, condition: Any, what: str) -> None:
        def look() -> Any:
            self._start_again()
            return condition()

        try:
            eventually(look, timeout_s=PATIENCE_S, what=what)
        except AssertionError as error:
            tail = (self.layout.base / "output.txt").read_text()[-3000:]
            raise AssertionError(f"{error}\n{self.status()}\n{tail}") from None

    def let_time_pass(self, longest_s: float) -> None:
        """Wait for an instant that nobody chose."""
        time.sleep(self._chance.uniform(0, longest_s))

    # ---- the proof

    def problems(self) -> list[str]:
        """Return what does not add up, now that everything has been trained and stopped."""
        return [*self._misplaced(), *self._miscounted(), *self._leftovers(), *self._different_weights()]

    def num_steps(self) -> int:
        if not self._has_table("steps"):
            return 0  # it was just being created
        return int(self._query("SELECT count(*) FROM steps")[0][0])

    def _misplaced(self) -> list[str]:
        places: dict[str, list[str]] = {name: [] for name in [*self._dropped, *self._refused]}
        for folder in [self.layout.inbox, self.layout.queue]:
            for path in folder.rglob("*"):
                if _is_dropped(path.name):
                    places.setdefault(path.name, []).append(path.parent.name)
        forgotten = self.forgotten()
        return [
            f"{name} lies in {found}"
            for name, found in places.items()
            if not self._is_well_placed(found, is_bad=name in self._refused, is_gone=name in forgotten)
        ]

    def _is_well_placed(self, found: list[str], *, is_bad: bool, is_gone: bool) -> bool:
        if is_gone:
            return not found
        return len(found) == 1 and (found[0] == "failed" if is_bad else found[0] in self._ends)

    def _miscounted(self) -> list[str]:
        steps = self._query("SELECT global_step, job_id, file_step, rows FROM steps ORDER BY global_step")
        wrong = [f"{name} is {state} in the ledger" for name, state in self._misrecorded()]
        if [step for step, *_ in steps] != list(range(1, len(steps) + 1)):
            wrong.append("the model's steps are not 1, 2, 3, …")
        names = dict(self._query("SELECT id, display FROM jobs"))
        taken: dict[str, list[tuple[int, int]]] = {}  # by each file since it was begun for the last time
        for _, job_id, file_step, num_rows in steps:
            if file_step == 1:
                taken[names[job_id]] = []
            taken.setdefault(names[job_id], []).append((file_step, num_rows))
        for name in self.completed():
            trained = sum(num_rows for _, num_rows in taken.get(name, []))
            if trained != self._dropped[name]:
                wrong.append(f"{trained} rows of {name} were trained, not {self._dropped[name]}")
        for name, parts in taken.items():
            if [step for step, _ in parts] != list(range(1, len(parts) + 1)):
                wrong.append(f"the steps of {name} are not 1, 2, 3, …")
        return wrong

    def _misrecorded(self) -> list[tuple[str, str]]:
        """Return the files that the ledger believes to be elsewhere than they are, with what it believes."""
        states = dict(self._query("SELECT display, state FROM jobs ORDER BY id"))
        reasons = dict(self._query("SELECT display, reason FROM jobs ORDER BY id"))
        right = {name: folder for folder in self._ends for name in self.files_in(folder)}
        right = {name: folder.removeprefix("recently_") for name, folder in right.items()}
        right |= dict.fromkeys(self.forgotten(), "removed")
        wrong = [
            (name, states.get(name, "unknown"))
            for name, state in right.items()
            if name in self._dropped and states.get(name) != state
        ]
        silent = [
            name for name in self.forgotten() if "forgotten, and erased" not in (reasons.get(name) or "")
        ]
        return [*wrong, *((name, "not forgotten") for name in silent)]

    def _leftovers(self) -> list[str]:
        ours = [folder for folder in self.layout.folders() if folder != self.layout.control]
        found = {path for folder in ours for path in folder.glob(".*") if path.suffix in (".part", ".tmp")}
        return [f"{path} was left behind" for path in found]

    def _different_weights(self) -> list[str]:
        reference = self.layout.base.with_name(f"{self.layout.base.name}-reference")
        folders = map(str, (self.layout.base, reference, self.dropped))
        answer = self._nursery.run("tests.crash.replay", *folders)
        assert answer.returncode == 0, answer.stderr
        ours, uninterrupted = json.loads(answer.stdout.splitlines()[-1])
        shutil.rmtree(reference)
        return [
            f"{what} differ from an uninterrupted run's" for what in ours if ours[what] != uninterrupted[what]
        ]

    def _has_table(self, name: str) -> bool:
        if not self.layout.ledger_file.exists():
            return False
        return bool(self._query(f"SELECT name FROM sqlite_master WHERE name = '{name}'"))

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(f"file:{self.layout.ledger_file}?mode=ro", uri=True)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def close(self) -> None:
        for one_shot in self.one_shots():
            with suppress(psutil.NoSuchProcess):
                one_shot.kill()
        self.kill_daemon()
        self.kill_workers()
