"""Random histories of a model, each lived twice: with a file that is forgotten afterwards, and without it.

    python -m tests.forget.histories --count 20 [--first-seed 0]

A history is a schedule: which file is trained up to which of its steps, and whether it then waits, ends or is
put aside. A life follows it with the real engine and the real ledger; what a daemon would decide (which files
are replayed) is decided here, by a life of its own that has never heard of the forgotten file.
"""

import argparse
import random
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from daemon.files.identity import Identity
from daemon.jobs.follow_branches import FollowBranches
from daemon.jobs.forget_orders import ForgetWish, order_to_forget
from daemon.jobs.job_queue import JobQueue
from daemon.journal.journal import Journal
from daemon.ledger.ledger import Ledger
from daemon.ledger.stretches import RecordedStretch, read_stretches
from tests.crash.replay import digest
from tests.shallow import build_shallow
from tests.support import job_for, row, rows, write_jsonl
from trainer.config.schema import Settings
from trainer.mains.forget import carry_out
from trainer.protocol.checkpoints import read_manifest
from trainer.protocol.forgetting import ForgetOrder, Forgot
from trainer.protocol.job import EarlierFile, Job, Outcome, Priority, Reason
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.messages import (
    Command,
    Event,
    JobEnded,
    PreemptJob,
    QueueEmpty,
    ShutDown,
    SkipJob,
    StartJob,
    StepsTaken,
    Validated,
)
from trainer.session.engine import TrainerEngine

FROZEN = ("training", "data", "profile")
DROPOUT = 0.1


@dataclass(frozen=True)
class Turn:
    """A file is trained up to one of its steps, or to its end."""

    file: int
    until: int | None = None
    then: Literal["ends", "waits", "is_put_aside"] = "ends"


@dataclass(frozen=True)
class RandomHistory:
    """What happened: the files, by their numbers, and the turns that they had."""

    seed: int
    num_rows: tuple[int, ...]
    priorities: tuple[Priority, ...]
    turns: tuple[Turn, ...]
    settings: dict[str, Any]
    forgotten: tuple[int, ...]
    """One after the other."""

    def without(self, *files: int) -> "RandomHistory":
        return replace(self, turns=tuple(turn for turn in self.turns if turn.file not in files))


def random_history(seed: int, *, num_forgotten: int = 2) -> RandomHistory:
    """Return a history of a few short files: some are overtaken, some put aside, and the last may wait."""
    chance = random.Random(seed)
    epochs, num_files = chance.choice([1, 1, 2]), chance.randint(5, 8)
    num_rows = tuple(chance.randint(3, 16) for _ in range(num_files))
    turns: list[Turn] = []
    waiting: list[tuple[int, int]] = []  # overtaken ones, with the steps that they have
    for file in range(num_files):
        least = max(1, num_rows[file] // 4) * epochs
        match chance.choice(["whole", "overtaken", "overtaken", "put aside"]):
            case "overtaken" if least > 1 and file < num_files - 1:
                turns.append(Turn(file, steps := chance.randint(1, least - 1), "waits"))
                waiting.append((file, steps))
                continue
            case "put aside" if least > 1:
                turns.append(Turn(file, chance.randint(1, least - 1), "is_put_aside"))
            case _:
                turns.append(Turn(file))
        while waiting and chance.random() < 0.4:
            turns.append(Turn(waiting.pop()[0]))
    turns += [Turn(file) for file, _ in waiting]
    if chance.random() < 0.5 and all(turn.file != turns[-1].file for turn in turns[:-1]):
        turns[-1] = replace(turns[-1], until=chance.randint(1, 2), then="waits")
    shown = list(dict.fromkeys(turn.file for turn in turns))
    validation: dict[str, Any] = {}
    gate: dict[str, Any] = {}
    if chance.random() < 0.5:
        validation = {"file": "validation.jsonl", "interval_steps": 4}
        if chance.random() < 0.5:  # each file alone, so that none waits for others at the end
            gate = {"enabled": True, "min_rows": 2, "max_loss_increase": 1e6, "group_rows": 1}
    return RandomHistory(
        seed=seed,
        num_rows=num_rows,
        priorities=tuple(chance.choice(list(Priority)) for _ in range(num_files)),
        turns=tuple(turns),
        settings={
            "training": {
                "method": chance.choice(["full", "full", "lora"]),
                "lora_dropout": DROPOUT,
                "epochs": epochs,
                "batch_size": 2,
                "gradient_accumulation": 2,
                "micro_batch_tokens": 64,
                "learning_rate": 1e-3,
                "warmup_steps": 5,
                "replay_fraction": chance.choice([0.0, 0.25, 0.5]),
                "seed": seed,
                "cpu_threads": 1,
                "device": "cpu",
                "average": chance.choice(["none", "none", "ema", "window"]),
                "average_steps": 3,
            },
            "validation": validation,
            "gate": gate,
            "monitoring": {
                "max_overhead_percent": 100.0
            },  # less would have the clock decide what is measured
            "checkpoints": {
                "keep_last": chance.choice([2, 3]),
                "interval_steps": chance.choice([None, 3]),
                "background": "never",
                "group_commit_s": chance.choice([0.0, 1e9]),
            },
        },
        forgotten=tuple(chance.sample(shown, 2))[:num_forgotten],
    )


@dataclass
class Life:
    """A working directory in which a history takes place."""

    layout: Layout
    history: RandomHistory
    base_model: Path
    jobs: dict[int, Job] = field(default_factory=dict)
    completed: list[EarlierFile] = field(default_factory=list)
    now: float = 1_700_000_000.0
    is_cut_short: bool = False
    """Whether the worker leaves after the last turn although there are more files, as to make room."""

    def __post_init__(self) -> None:
        self.layout.create()
        self.layout.kept_files.mkdir()
        write_jsonl(self.layout.base / "validation.jsonl", rows(3, start=900))
        self.settings = Settings.model_validate(
            {"model": {"base_model": str(self.base_model)}, **self.history.settings}
        )
        self.ledger = Ledger(self.layout.ledger_file, clock=self._clock)
        self.journal = Journal([])
        self.queue = JobQueue(self.layout, self.ledger, self.journal)
        for number in sorted({turn.file for turn in self.history.turns}):
            self._accept(number)

    def _clock(self) -> float:
        self.now += 1.0
        return self.now

    def _accept(self, number: int) -> None:
        content = [
            row(f"Say {100 * number + i}.", f"{i} of {number}.") for i in range(self.history.num_rows[number])
        ]
        path = write_jsonl(self.layout.logs / f"file-{number}.jsonl", content)
        priority = self.history.priorities[number]
        job = job_for(path, id=f"20260101-000000-{number:06d}", priority=priority)
        path.rename(self.layout.kept_files / job.sha256)
        self.jobs[number] = job
        self.ledger.add_job(job, Identity(1, number + 1, job.size_bytes, 1), "waiting")

    # ---- live

    def live(self) -> None:
        """Let all of it happen."""
        settings = self.settings
        engine = TrainerEngine(settings, base_dir=self.layout.base, on_event=self.hear)
        engine.load()
        engine.run(Schedule(self, engine))
        engine.close()
        self.ledger.commit()

    def order(self, file: int) -> StartJob:
        """Start a file as a daemon would: what it replays is chosen, and kept, when it first starts."""
        job, settings = self.jobs[file], self.settings.model_dump(mode="json")
        if self.ledger.frozen_settings(job.id) is None:
            newest_first = sorted(self.completed, key=lambda earlier: earlier.job_id, reverse=True)
            chosen = newest_first if self.settings.training.replay_fraction else []
            self.ledger.freeze_settings(job.id, {name: settings[name] for name in FROZEN}, chosen)
        self.ledger.note_start(job)
        self.ledger.start_attempt(job.id)
        replayed = self.ledger.replayed(job.id)
        shelf = self.layout.replayed
        shelf.mkdir(exist_ok=True)
        for earlier in replayed:
            if not (shelf / earlier.job_id).exists():
                (shelf / earlier.job_id).hardlink_to(self.layout.kept_files / earlier.sha256)
        return StartJob(
            job=job,
            path=str(self.layout.kept_files / job.sha256),
            settings=settings,
            replayed=replayed,
            replay_folder=str(shelf),
        )

    def hear(self, event: Event) -> None:
        """Note what happens, as a daemon would."""
        match event:
            case StepsTaken():
                self.ledger.add_steps(event.steps)
            case Validated():
                self.ledger.add_validation(event)
            case JobEnded(record=record):
                job = next(job for job in self.jobs.values() if job.id == record.job_id)
                reason = None
                if record.outcome is Outcome.COMPLETED:
                    self.completed.append(
                        EarlierFile(job_id=job.id, name=job.name, sha256=job.sha256, rows=job.rows)
                    )
                else:
                    reason = Reason.model_validate(
                        {"kind": "request", "message": "skipped", "file": job.name, "at": "now"}
                    )
                self.ledger.finish_job(job, record.outcome.value, record, reason)

    # ---- forget

    def forget(self, file: int) -> Forgot:
        """Forget a file as a daemon would have it done; the ledger follows."""
        self.write_order(file)
        forgot = carry_out(ForgetOrder(base_dir=self.layout.base), lambda text: None)
        self.follow()
        return forgot

    def write_order(self, file: int) -> None:
        """Ask for a file to be forgotten."""
        wish = ForgetWish(name=self.jobs[file].id, keep_versions=False, reason="a test")
        self.ledger.commit()
        order_to_forget(self.layout, wish, self.settings.model_dump(mode="json"))

    def follow(self) -> None:
        """Have the ledger follow the newest checkpoint."""
        manifest = self.manifest
        progress = manifest.progress
        FollowBranches(self.layout.models, self.queue, self.ledger, self.journal).follow(
            manifest.branches, cursors=progress.cursors.keys(), finished=progress.finished
        )
        self.ledger.commit()

    # ---- what came of it

    @property
    def manifest(self) -> Manifest:
        return read_manifest((self.layout.models / "current_model").resolve())

    def result(self) -> dict[str, Any]:
        """Return everything that must be as if a file had never been there."""
        progress = self.manifest.progress
        is_gated = self.settings.gate.enabled
        ended = [(item.job_id, item.outcome, item.steps) for item in progress.finished]
        return {
            **digest(self.layout.models / "current_model"),
            "step": progress.global_step,
            "tokens": progress.tokens_seen,
            "samples": progress.samples_seen,
            "cursors": {
                job_id: cursor.model_dump(mode="json") for job_id, cursor in sorted(progress.cursors.items())
            },
            "finished": sorted(ended) if is_gated else ended,  # the gate lets files end when they are judged
            "ended_files": progress.ended_files,
            "validation_loss": None if is_gated else progress.validation_loss,  # it measures at other steps
            "stretches": self.stretches(),
            "replayed": {job.id: self.ledger.replayed(job.id) for job in self.jobs.values()},
        }

    def stretches(self) -> list[RecordedStretch]:
        self.ledger.commit()
        return read_stretches(self.layout.ledger_file)


class Schedule:
    """The commands of a history's turns."""

    def __init__(self, life: Life, engine: TrainerEngine) -> None:
        self._life = life
        self._engine = engine
        self._left = deque(life.history.turns)
        self._turn: Turn | None = None
        self._is_told = life.is_cut_short

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s == 0:
            return self._between_steps()
        while self._left:
            self._turn = self._left.popleft()
            if not self._has_ended(self._turn.file):
                return self._life.order(self._turn.file)
        if not self._is_told:
            self._is_told = True
            return QueueEmpty()
        return ShutDown(reason="the history is over")

    def _between_steps(self) -> Command | None:
        if self._turn is None or self._turn.until is None:
            return None
        job_id = self._life.jobs[self._turn.file].id
        cursor = self._engine.progress.cursors.get(job_id)
        if cursor is None or cursor.step < self._turn.until:
            return None
        turn, self._turn = self._turn, None
        return SkipJob(job_id=job_id) if turn.then == "is_put_aside" else PreemptJob(job_id=job_id)

    def _has_ended(self, file: int) -> bool:
        job_id = self._life.jobs[file].id
        return any(record.job_id == job_id for record in self._engine.progress.finished)


def differences(folder: Path, history: RandomHistory, base_model: Path) -> list[str]:
    """Forget files one after the other, and return in what the model differs from one that never saw them."""
    life = Life(Layout(folder / "with"), history, base_model)
    life.live()
    found = []
    for number in range(1, len(history.forgotten) + 1):
        gone = history.forgotten[:number]
        life.forget(gone[-1])
        for file in gone:
            life.jobs.pop(file, None)
        other = Life(Layout(folder / f"without-{number}"), history.without(*gone), base_model)
        other.live()
        ours, theirs = life.result(), other.result()
        other.ledger.close()
        found += [
            f"seed {history.seed}, without {gone}: {name} is {ours[name]}; expected {theirs[name]}"
            for name in theirs
            if ours[name] != theirs[name]
        ]
    life.ledger.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Try many histories; return 1 if any model differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    good = 0
    with tempfile.TemporaryDirectory() as place:
        base_model = build_shallow(Path(place) / "base", dropout=DROPOUT)
        for seed in range(asked.first_seed, asked.first_seed + asked.count):
            history = random_history(seed)
            found = differences(Path(place) / str(seed), history, base_model)
            good += not found
            training = history.settings["training"]
            gate = ", gate" if history.settings["gate"] else ""
            print(
                f"seed {seed}: {training['method']}, {training['epochs']} epochs, replay "
                f"{training['replay_fraction']}{gate}, {len(history.turns)} turns, forgot "
                f"{history.forgotten}: " + ("; ".join(found) or "the same")
            )
    print(f"{good} of {asked.count} are the same, bit for bit")
    return 0 if good == asked.count else 1


if __name__ == "__main__":
    sys.exit(main())
