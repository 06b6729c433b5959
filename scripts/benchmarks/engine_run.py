"""Train a file with the engine and note every step: `python -m scripts.benchmarks.engine_run SPEC`.

The measuring process starts it once for each case, so that each has the GPU's whole memory.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from trainer.config.schema import Settings
from trainer.data.checks.file_check import check_file
from trainer.protocol.messages import (
    Command,
    Event,
    JobEnded,
    QueueEmpty,
    ShutDown,
    StartJob,
    StepsTaken,
)
from trainer.session.engine import TrainerEngine

LAST_WORDS = 2000
SAFETENSORS = "models/current_model/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run of the engine."""

    folder: str
    """Its working directory; a second run in the same one continues."""
    file: str
    settings: dict[str, Any]
    is_deterministic: bool = False
    kill_at_step: int | None = None
    """Pull the plug when this step has been reported."""
    memory_bytes: int | None = None
    """Most GPU memory this process may have."""


@dataclass
class Run:
    """What came of it."""

    tokens: list[int] = field(default_factory=list)
    supervised: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    step_began_at: list[float] = field(default_factory=list)
    """Monotonic seconds."""
    peak_bytes: int = 0
    """Of the GPU's memory; 0 without one."""
    weights_sha256: str | None = None
    why_not: str | None = None

    def tokens_per_s(self, *, skip: int) -> float | None:
        """Return the tokens per second after the first `skip` steps."""
        began = self.step_began_at
        if len(began) < skip + 2 or len(self.tokens) < len(began):
            return None
        return sum(self.tokens[skip : len(began) - 1]) / (began[-1] - began[skip])


class Begins(TrainerCallback):
    """Notes when each step begins."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._run.step_began_at.append(time.perf_counter())


class Script:
    """Gives an order whenever the one before is done."""

    def __init__(self, orders: list[Command]) -> None:
        self._orders = orders

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s == 0:  # asked between two steps, where nothing is ordered
            return None
        return self._orders.pop(0) if self._orders else None


def run_engine(spec: Spec) -> Run:
    """Train in a new process; return what it notes."""
    folder = Path(spec.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(asdict(spec)))
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "scripts.benchmarks.engine_run", str(folder / "spec.json")]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if spec.is_deterministic else None
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.exists():
        return Run(**json.loads(result.read_text()))
    lines = ended.stderr[-LAST_WORDS:].strip().splitlines()
    return Run(why_not=lines[-1] if lines else f"exit code {ended.returncode}")


def main() -> None:
    """Train in this process."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    torch.use_deterministic_algorithms(spec.is_deterministic)
    if spec.memory_bytes:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(spec.memory_bytes / total)
    run = Run()
    engine = TrainerEngine(
        Settings.model_validate(spec.settings),
        base_dir=Path(spec.folder),
        on_event=lambda event: _note(event, run, spec.kill_at_step),
    )
    engine.load()
    engine.trainer.add_callback(Begins(run))
    engine.run(_commands(spec))
    if torch.cuda.is_available():
        run.peak_bytes = torch.cuda.max_memory_reserved()
    weights = Path(spec.folder) / SAFETENSORS
    if weights.exists():
        run.weights_sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    (Path(spec.folder) / "result.json").write_text(json.dumps(asdict(run)))


def _note(event: Event, run: Run, kill_at_step: int | None) -> None:
    if isinstance(event, JobEnded) and event.record.message:
        raise RuntimeError(event.record.message)
    if not isinstance(event, StepsTaken):
        return
    for step in event.steps:
        run.tokens.append(step.tokens)
        run.supervised.append(step.supervised_tokens)
        run.losses.append(step.loss if step.loss is not None else float("nan"))
        if kill_at_step is not None and step.global_step >= kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)


def _commands(spec: Spec) -> Script:
    """Order the one file, under an id that stays the same, so that a second run continues it."""
    file = Path(spec.file)
    job = check_file(file, max_line_bytes=8 * 1024**2).to_job(id="measured", name=file.name)
    orders: list[Command] = [
        StartJob(job=job, path=spec.file, settings=spec.settings),
        QueueEmpty(),
        ShutDown(reason="the file is done"),
    ]

    return Script(orders)


if __name__ == "__main__":
    main()
