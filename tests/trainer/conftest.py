"""What the trainer's tests share: the embedded model, built once."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the embedded model."""
    import torch  # here, because tests without a model need not wait for it

    from trainer.core.tiny import build_tiny

    torch.set_num_threads(1)  # more only wait for each other with so little to do
    return build_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def noisy_folder(tiny_folder: Path) -> Path:
    """Return the folder of the same model with dropout, so that each step's noise matters."""
    folder = tiny_folder.with_name("noisy")
    shutil.copytree(tiny_folder, folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_dropout": 0.1}))
    return folder
