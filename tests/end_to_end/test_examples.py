"""The lines of Python in README and QUICKSTART, as somebody who tries them runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.client import Client
from tests.support import rows, write_jsonl

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.loads_torch


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def run(code, home):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=home / "training",
        env=os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )


def test_the_engine_trains_a_file_and_its_model_loads_and_answers(tmp_path):
    Client(tmp_path / "training").create()
    write_jsonl(tmp_path / "training/chat.jsonl", rows(4))
    [training] = [block for block in blocks("README.md") if "TrainerEngine" in block]
    [loading] = [block for block in blocks("README.md") if "from_pretrained" in block]
    [asking] = [block for block in blocks("docs/QUICKSTART.md") if "from_pretrained" in block]

    early, trained, loaded, asked = (run(code, tmp_path) for code in (loading, training, loading, asking))

    assert early.stderr.splitlines()[-1].startswith("daemon.client.errors.NoSuchCheckpoint: ")
    assert trained.stdout.startswith("1 "), trained.stderr
    assert loaded.returncode == 0, loaded.stderr
    assert asked.returncode == 0, asked.stderr
    assert "2+2?" in asked.stdout
