import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE_S

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "quick",
    "throughput",
    "bf16",
    "bf16_losses",
    "many_files",
    "large_vocab",
    "big_file",
    "overhead",
    "latency",
    "monitor",
    "beside",
)
LOADING_TORCH = ("save", "gpu", "answers", "averages")


@pytest.mark.long
@pytest.mark.parametrize("name", [*COMMANDS, "compare", "report"])
def test_every_command_explains_itself(name):
    command = [sys.executable, "-m", f"scripts.benchmarks.{name}", "--help"]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)

    assert result.returncode == 0, result.stderr
    assert f"python -m scripts.benchmarks.{name}" in result.stdout


@pytest.mark.parametrize("name", LOADING_TORCH)
def test_every_command_that_loads_torch_explains_itself(nursery, name):
    result = nursery.run(f"scripts.benchmarks.{name}", "--help")

    assert result.returncode == 0, result.stderr
    assert f"python -m scripts.benchmarks.{name}" in result.stdout


@pytest.mark.parametrize("name", [*COMMANDS, *LOADING_TORCH])
def test_every_benchmark_has_its_place_in_the_document(name):
    document = (ROOT / "docs" / "BENCHMARKS.md").read_text()

    assert f"<!-- results: {name} -->" in document
    assert f"`python -m scripts.benchmarks.{name}`" in document
