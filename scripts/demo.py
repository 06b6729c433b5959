"""The main job on a small puzzle: drop files, watch them train, test the result.

The puzzle: write a few letters in reverse order. The questions asked at the end never occur in training.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from daemon.status.reader import read_status
from trainer.protocol.layout import Layout
from trainer.protocol.text import printable

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROWS = {"lesson-1.jsonl": 4000, "lesson-2.jsonl": 3200, "urgent.jsonl": 2400}
STEPS_BEFORE_URGENT = 100
ORDER = ["urgent.jsonl", "lesson-1.jsonl", "lesson-2.jsonl"]  # of their ends
NUM_QUESTIONS = 100
WANTED_BEFORE, WANTED_AFTER = 0.10, 0.80
SILENCE_LIMIT_S = 90.0  # a slow machine may take its time as long as it moves
STOP_LIMIT_S = 120.0
NUM_SHOWN_BEFORE = 3
CONFIG = {
    "model": {"base_model": "tiny"},
    "training": {"batch_size": 16, "gradient_accumulation": 1, "learning_rate": 2.5e-3, "warmup_steps": 50},
    "checkpoints": {"group_commit_s": 2.0},
}

console = Console()


@dataclass(frozen=True)
class Puzzle:
    question: str
    answer: str

    def as_row(self) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": self.question},
                {"role": "assistant", "content": self.answer},
            ]
        }


class DemoFailed(RuntimeError):
    """The demonstration did not show what it should."""


def puzzles(seed: int) -> Iterator[Puzzle]:
    """Yield different puzzles for ever."""
    generator, seen = random.Random(seed), set()
    while True:
        letters = [generator.choice(LETTERS) for _ in range(generator.randint(3, 6))]
        question = f"Reverse: {' '.join(letters)}"
        if question not in seen:
            seen.add(question)
            yield Puzzle(question, " ".join(reversed(letters)))


def main() -> int:
    """Run the demonstration; return 0 if the model can solve the puzzle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="use and keep this working directory")
    keep: Path | None = parser.parse_args().keep
    base = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="training-demo-"))
    if keep and keep.exists() and any(keep.iterdir()):
        console.print(f"[red]error:[/] {keep} is not empty; give a new folder", highlight=False)
        return 1
    is_kept = keep is not None
    try:
        show_lesson(Layout(base))
        return 0
    except DemoFailed as error:
        is_kept = True  # whoever wants to know why must be able to look
        console.print(f"[red]The demonstration failed:[/] {escape(str(error))}", highlight=False)
        return 1
    finally:
        if is_kept:
            console.print(f"The working directory is kept in {base}", highlight=False, soft_wrap=True)
        else:
            shutil.rmtree(base, ignore_errors=True)


def show_lesson(layout: Layout) -> None:
    """Ask, train, ask again, and compare."""
    started = time.monotonic()
    layout.create()
    layout.config_file.write_text(json.dumps(CONFIG, indent=2))
    supply = puzzles(seed=7)
    questions = [next(supply) for _ in range(NUM_QUESTIONS)]
    files = {name: [next(supply) for _ in range(number)] for name, number in ROWS.items()}
    console.rule("A tiny model, and questions it has never seen")
    console.print('The puzzle: to "Reverse: a b c" the right answer is "c b a".')
    console.print("The model starts with random weights, so before training it answers with noise:")
    # Asked in processes of their own: the daemon's side of the house never loads torch
    before = ask(layout, questions, checkpoint=False)
    console.print(answers_table(questions[:NUM_SHOWN_BEFORE], before))
    console.rule("Two files dropped into inbox/, then an urgent one while the first trains")
    with running_daemon(layout) as daemon:
        train(layout, files, daemon)
    if not console.is_terminal:
        console.print()  # the live display leaves its last line open
    after = ask(layout, questions, checkpoint=True)
    report(layout, questions, before, after)
    console.print(f"\nAll of it took {time.monotonic() - started:.0f} seconds.", highlight=False)


# ---- the daemon


class running_daemon:
    """A daemon for as long as the block runs."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __enter__(self) -> subprocess.Popen[bytes]:
        output = (self._layout.logs / "demo.log").open("wb")
        with output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli.training_daemon", "--base-dir", str(self._layout.base)],
                stdout=output,
                stderr=output,
            )
        return self._process

    def __exit__(self, *exception: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def drop(layout: Layout, name: str, content: list[Puzzle], folder: str = "") -> None:
    """Put a file into the inbox as `mv` would: complete before it has its name."""
    partial = layout.inbox / f".{name}.part"
    partial.write_text("".join(json.dumps(puzzle.as_row()) + "\n" for puzzle in content))
    os.rename(partial, layout.inbox / folder / name)


class Patience:
    """Ends when nothing has moved for too long."""

    def __init__(self) -> None:
        self._seen: object = None
        self._moved_at = time.monotonic()

    def silence_s(self, fields: dict[str, Any]) -> float:
        """Return for how many seconds the status has shown no progress."""
        names = ["status", "worker_section", "current_file", "current_step", "last_checkpoint", "queue"]
        now, seen = time.monotonic(), [fields.get(name) for name in names]
        if seen != self._seen:
            self._seen, self._moved_at = seen, now
        return now - self._moved_at


def train(layout: Layout, files: dict[str, list[Puzzle]], daemon: subprocess.Popen[bytes]) -> None:
    """Drop the files and show the progress until all are trained."""
    drop(layout, "lesson-1.jsonl", files["lesson-1.jsonl"])
    drop(layout, "lesson-2.jsonl", files["lesson-2.jsonl"])
    urgent_is_dropped = False
    patience = Patience()
    progress = Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        TextColumn("{task.completed:>5.0f}/{task.total:.0f} steps"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )
    task = progress.add_task("starting", total=1, note="")
    with Live(progress, console=console, refresh_per_second=4):
        while True:
            fields = read_status(layout).fields
            show(progress, task, fields)
            is_first = fields.get("current_file") == "lesson-1.jsonl"
            if is_first and (fields.get("file_step") or 0) >= STEPS_BEFORE_URGENT and not urgent_is_dropped:
                drop(layout, "urgent.jsonl", files["urgent.jsonl"], folder="high")
                progress.console.print(
                    "urgent.jsonl dropped into inbox/high/: it takes over at the next step, "
                    "and lesson-1.jsonl goes on later where it was"
                )
                urgent_is_dropped = True
            if (fields.get("queue") or {}).get("recently_completed") == len(files):
                progress.update(task, description="all files are trained", completed=1, total=1, note="")
                return
            if daemon.poll() is not None:
                raise DemoFailed(f"the daemon has ended with code {daemon.returncode}{where_to_look(layout)}")
            if patience.silence_s(fields) > SILENCE_LIMIT_S:
                raise DemoFailed(f"no new step for {SILENCE_LIMIT_S:.0f} s{where_to_look(layout)}")
            time.sleep(0.1)


def where_to_look(layout: Layout) -> str:
    """Return what was expected, what the daemon says, and where there is more."""
    fields = read_status(layout).fields
    error = (fields.get("last_error") or {}).get("message")
    return (
        f"; expected {len(ROWS)} files in queue/recently_completed/."
        f"\nThe daemon's status is {fields.get('status')}, its last error: {error}."
        f"\nLook at daemon.log, worker.log and demo.log in {layout.logs}"
    )


def show(progress: Progress, task: Any, fields: dict[str, Any]) -> None:
    loss, speed = fields.get("loss"), fields.get("tokens_per_sec")
    note = f"loss {loss:.3f}   {speed:,.0f} tokens/s" if loss is not None and speed else ""
    progress.update(
        task,
        description=printable(fields.get("current_file") or fields.get("status") or "starting"),
        completed=fields.get("file_step") or 0,
        total=fields.get("file_total_steps") or 1,
        note=note,
    )


# ---- questions and answers


def ask(layout: Layout, questions: list[Puzzle], *, checkpoint: bool) -> list[str]:
    """Return the model's answers: of the base model, or of what it has become."""
    folder = layout.models / ("current_model" if checkpoint else "tiny")
    asker = Path(__file__).with_name("demo_ask.py")
    prompts = json.dumps([puzzle.question for puzzle in questions])
    with console.status(f"asking {folder.name} {len(questions)} questions"):
        result = subprocess.run(
            [sys.executable, str(asker), str(folder)],
            input=prompts,
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise DemoFailed(f"expected answers of the model in {folder}, but: {result.stderr[-1000:]}")
    return list(json.loads(result.stdout))


def accuracy(questions: list[Puzzle], answers: list[str]) -> float:
    right = sum(answer.strip() == puzzle.answer for puzzle, answer in zip(questions, answers, strict=True))
    return right / len(questions)


# ---- the report


def report(layout: Layout, questions: list[Puzzle], before: list[str], after: list[str]) -> None:
    """Show what happened; raise if it is not what was promised."""
    console.rule("What the ledger says")
    jobs = completed_jobs(layout)
    console.print(files_table(jobs))
    console.rule("Questions that were never trained")
    console.print(answers_table(questions[:5], before, after))
    was, now = accuracy(questions, before), accuracy(questions, after)
    console.print(
        f"Exact answers to {len(questions)} held-out questions: "
        f"[bold]{was:.0%}[/] before, [bold]{now:.0%}[/] after.",
        highlight=False,
    )
    order = [name for name, *_ in jobs]
    if order != ORDER:
        raise DemoFailed(
            f"the files came to their ends in the order {', '.join(order)}; expected {', '.join(ORDER)}; "
            f"look at {layout.logs / 'daemon.log'}"
        )
    if was >= WANTED_BEFORE or now < WANTED_AFTER:
        raise DemoFailed(
            f"{was:.0%} were right before and {now:.0%} after; expected less than {WANTED_BEFORE:.0%} before "
            f"and at least {WANTED_AFTER:.0%} after; look at the losses in {layout.ledger_file}"
        )


def answers_table(questions: list[Puzzle], before: list[str], after: list[str] | None = None) -> Table:
    """Return questions beside what the model answers."""
    table = Table("question", "right answer", "before", *(["after"] if after else []))
    for number, puzzle in enumerate(questions):
        answers = [before[number], *([after[number]] if after else [])]
        shown = [escape(printable(answer, limit=30)) if answer.strip() else "(nothing)" for answer in answers]
        table.add_row(puzzle.question, puzzle.answer, *shown)
    return table


def completed_jobs(layout: Layout) -> list[tuple[Any, ...]]:
    """Return what the ledger knows of each file, in the order in which they came to their ends."""
    database = sqlite3.connect(layout.ledger_file)
    rows = database.execute(
        "SELECT display, priority, rows_trained, steps, tokens / seconds, first_loss, last_loss FROM jobs"
        " WHERE state = 'completed' ORDER BY (SELECT max(global_step) FROM steps WHERE job_id = jobs.id)"
    ).fetchall()
    database.close()
    return rows


def files_table(jobs: list[tuple[Any, ...]]) -> Table:
    table = Table(
        "#",
        Column("file", no_wrap=True),
        Column("priority", min_width=8),
        "rows",
        "steps",
        Column("tokens/s", min_width=8),
        "loss: start",
        "end",
    )
    for number, (name, priority, trained, steps, speed, first, last) in enumerate(jobs, 1):
        table.add_row(
            str(number),
            name,
            priority,
            f"{trained:,}",
            f"{steps:,}",
            f"{speed:,.0f}",
            f"{first:.3f}",
            f"{last:.3f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
