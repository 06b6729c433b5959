"""What the trainer's tests share: the embedded model, built once."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import job_for, rows, write_jsonl
from trainer.config.schema import TrainingSettings
from trainer.protocol.job import Job

if TYPE_CHECKING:
    from trainer.step.feeding_trainer import FeedingTrainer


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model."""
    import torch  # here, because tests without a model need not wait for it

    from tests.shallow import build_shallow

    torch.set_num_threads(1)  # more only wait for each other with so little to do
    return build_shallow(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def noisy_folder(tiny_folder: Path) -> Path:
    """Return the folder of the same model with dropout, so that each step's noise matters."""
    folder = tiny_folder.with_name("noisy")
    shutil.copytree(tiny_folder, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_dropout": 0.1}))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an empty models folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def job_file(tmp_path: Path) -> Iterator[Callable[..., tuple[Job, Path]]]:
    """Return a function that writes a file of different rows and gives its job and path."""

    def write(name: str = "a", content: int | list[Any] = 10) -> tuple[Job, Path]:
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, rows(content) if isinstance(content, int) else content)
        return job_for(path, id=name), path

    yield write
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert [path for path in opened if path.startswith(str(tmp_path))] == [], "files were left open"


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.fixture
def make_trainer(noisy_folder: Path, tmp_path: Path) -> Callable[..., "FeedingTrainer"]:
    """Return a function that makes a trainer of the model with dropout."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainer.step.feeding_trainer import FeedingTrainer

    def make(*, global_step: int = 0, tell: Any = lambda text: None, **training: Any) -> FeedingTrainer:
        return FeedingTrainer(
            AutoModelForCausalLM.from_pretrained(noisy_folder),
            AutoTokenizer.from_pretrained(noisy_folder),
            TrainingSettings.model_validate(training),
            scratch=tmp_path / "scratch",
            global_step=global_step,
            tell=tell,
        )

    return make


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    """Return an empty working directory."""
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


@pytest.fixture
def seven_rows(tmp_path: Path) -> Path:
    """Return a file of seven rows."""
    return write_jsonl(tmp_path / "a.jsonl", rows(7))
