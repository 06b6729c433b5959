"""The lines of README and QUICKSTART, run as somebody who tries them does. What loads torch is forked."""

import re
from pathlib import Path

import pytest

from daemon.client import Client
from tests.support import rows, write_jsonl

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.loads_torch


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def block_with(page, words):
    [found] = [block for block in blocks(page) if words in block]
    return found


@pytest.fixture
def run(nursery, tmp_path, monkeypatch):
    """Do what `python -c CODE` does, in ~/training."""
    folder = tmp_path / "training"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRAINING_BASE_DIR", str(folder))
    monkeypatch.setenv("TRAINING__TRAINING__CPU_THREADS", "1")
    monkeypatch.chdir(folder)
    return lambda code: nursery.run("tests.crash.run_code", code)


def test_the_sample_teaches_the_model_the_answers_that_the_pages_promise(run, nursery):
    Client().create(sample=True)

    trained = nursery.run("tests.end_to_end.run_command", str(nursery.address), "--once")

    assert trained.returncode == 0, trained.stderr
    for page, answer in (
        ("README.md", "'content': 'Paris.'}\n"),
        ("docs/QUICKSTART.md", "assistant\nTokyo.<|im_end|>\n"),
    ):
        asked = run(block_with(page, "current_model()"))
        assert asked.stdout.endswith(answer), asked


def test_the_engine_trains_a_file_and_its_model_loads_and_answers(run, tmp_path):
    Client().create()
    write_jsonl(tmp_path / "training/chat.jsonl", rows(4))
    loading = block_with("README.md", "current_model()")

    early = run(loading)
    trained = run(block_with("README.md", "TrainerEngine"))
    asked = run(loading)

    assert early.stderr.splitlines()[-1].startswith("daemon.client.errors.NoSuchCheckpoint: ")
    assert trained.stdout.startswith("1 "), trained.stderr
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
