"""The demonstration that the README shows first. It checks its own promises, and exits accordingly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE_S

DEMO = Path(__file__).parent.parent.parent / "scripts" / "demo.py"


@pytest.mark.loads_torch
def test_the_demonstration_shows_a_model_that_learns():
    shown = subprocess.run(
        [sys.executable, str(DEMO)],
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # the other cores are busy with other tests
    )

    assert shown.returncode == 0, shown.stdout[-3000:] + shown.stderr[-3000:]
    assert "0% before" in shown.stdout
    for name in ("lesson-1.jsonl", "urgent.jsonl", "lesson-2.jsonl"):
        assert name in shown.stdout
