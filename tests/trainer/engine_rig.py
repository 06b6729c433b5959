"""The engine with a real, tiny model: trained up to a step, stopped, gone on with, and looked at."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from tests.support import PowerCut
from trainer.checkpoints.tensor_tree import load_tree
from trainer.config.schema import Settings
from trainer.protocol.job import Job
from trainer.protocol.messages import Command, Event, ShutDown, StartJob, StepReport, StepsTaken
from trainer.session.engine import TrainerEngine
from trainer.step.feeding_trainer import FeedingTrainer

ROWS_PER_STEP = 3
PEFT_IS_BEHIND = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # it uses the old name
CPU_IS_FULL = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"
LEAVE = ShutDown(reason="the test is over")


def settings_with(base_model: Path | str, **sections: dict[str, Any]) -> Settings:
    """Return settings under which a few steps of the tiny model make a difference."""
    training = {
        "batch_size": ROWS_PER_STEP,
        "gradient_accumulation": 1,
        "learning_rate": 1e-3,
        "warmup_steps": 4,
        "cpu_threads": 1,
    }
    return Settings.model_validate(
        {
            "model": {"base_model": str(base_model)},
            "training": training | sections.pop("training", {}),
            **sections,
        }
    )


class Commands:
    """Commands for a session, which is stopped, or ends without a word, after so many steps of the model."""

    def __init__(
        self,
        engine: TrainerEngine,
        waiting: Sequence[Command],
        stop_at: int | None = None,
        *,
        kill_at: int | None = None,
    ) -> None:
        self._engine = engine
        self._waiting = deque(waiting)
        self._stop_at = stop_at
        self._kill_at = kill_at

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s != 0:
            return self._waiting.popleft()
        if self._engine.progress.global_step == self._kill_at:
            raise PowerCut
        if self._engine.progress.global_step != self._stop_at:
            return None
        self._stop_at = None
        return LEAVE


class SmallMemory:
    """Makes a model's forward fail above so many tokens at once, always or while `is_short` says so."""

    def __init__(
        self,
        trainer: FeedingTrainer,
        *,
        fits: int,
        error: Exception | None = None,
        is_short: Callable[[], bool] = lambda: True,
    ) -> None:
        self.asked: list[int] = []
        decoder = trainer.model.get_decoder()
        forward = decoder.forward

        def limited(*arguments: Any, input_ids: torch.Tensor, **named: Any) -> Any:
            self.asked.append(input_ids.numel())
            if input_ids.numel() > fits and is_short():
                raise error or RuntimeError(CPU_IS_FULL)
            return forward(*arguments, input_ids=input_ids, **named)

        decoder.forward = limited


class Told(list[Event]):
    """Events, with the questions tests ask about them."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]

    @property
    def steps(self) -> list[StepReport]:
        return [step for event in self.of(StepsTaken) for step in event.steps]


def train(
    base_dir: Path, settings: Settings, jobs: Sequence[tuple[Job, Path]], *, stop_at: int | None = None
) -> tuple[TrainerEngine, Told]:
    """Train files in a new engine, all of them or up to a step of the model's life."""
    told = Told()
    engine = TrainerEngine(settings, base_dir=base_dir, on_event=told.append)
    engine.load()
    dumped = settings.model_dump(mode="json")
    orders = [StartJob(job=job, path=str(path), settings=dumped) for job, path in jobs]
    engine.run(Commands(engine, [*orders, LEAVE], stop_at))
    return engine, told


def current(base_dir: Path) -> Path:
    return base_dir / "models" / "current_model"


def manifest_of(base_dir: Path) -> dict[str, Any]:
    return json.loads((current(base_dir) / "MANIFEST.json").read_text())


def weights_sha256(base_dir: Path) -> str:
    [file] = current(base_dir).glob("*model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def optimizer_state(base_dir: Path) -> dict[str, Any]:
    optimizer: dict[str, Any] = load_tree(current(base_dir), "state")["optimizer"]
    return optimizer


def assert_same_state(found: Any, expected: Any) -> None:
    """Compare nested values, tensors to the last bit."""
    assert type(found) is type(expected)
    match expected:
        case dict():
            assert found.keys() == expected.keys()
            for key in expected:
                assert_same_state(found[key], expected[key])
        case list():
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert_same_state(one, other)
        case torch.Tensor():
            assert torch.equal(found, expected)
        case _:
            assert found == expected


def prompt_in(folder: Path) -> torch.Tensor:
    """Return the tokens of a few words, by the tokenizer of a model folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer("Say 3.", return_tensors="pt")["input_ids"]


def loaded(base_dir: Path, settings: Settings) -> TrainerEngine:
    """Return a new engine with its model loaded."""
    engine = TrainerEngine(settings, base_dir=base_dir)
    engine.load()
    return engine
