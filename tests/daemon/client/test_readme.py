"""The README's lines of Python do what they promise, with a daemon that runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import rows, write_jsonl

README = Path(__file__).parents[3] / "README.md"


def test_the_readmes_lines_add_a_file_wait_for_it_and_print_its_loss(rig, tmp_path):
    [block] = re.findall(
        r"^```python\n(from daemon\.client import Client\n\n.*?)^```", README.read_text(), re.M | re.S
    )
    write_jsonl(tmp_path / "chat.jsonl", rows(4))
    rig.start()

    result = subprocess.run(
        [sys.executable, "-c", block],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
        env=os.environ | {"TRAINING_BASE_DIR": str(rig.layout.base)},
    )

    assert len(block.splitlines()) <= 10
    assert (result.stderr, result.stdout) == ("", "completed 4 0.25\n")
