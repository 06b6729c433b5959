"""A failpoint kills its process where and when the environment says, and nowhere else."""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
from trainer.protocol.failpoints import failpoint
for visit in range(1, 5):
    failpoint("other.place")
    print(visit, flush=True)
    failpoint("the.place")
print("survived")
"""


@pytest.mark.parametrize(
    "wanted, printed, exit_code",
    [
        ("the.place", ["1"], -signal.SIGKILL),
        ("the.place:1", ["1"], -signal.SIGKILL),
        ("the.place:3", ["1", "2", "3"], -signal.SIGKILL),
        ("the.place:4", ["1", "2", "3", "4"], -signal.SIGKILL),
        ("the.place:5", ["1", "2", "3", "4", "survived"], 0),
        ("the", ["1", "2", "3", "4", "survived"], 0),
        ("", ["1", "2", "3", "4", "survived"], 0),
        (None, ["1", "2", "3", "4", "survived"], 0),
    ],
)
def test_a_process_dies_at_the_nth_visit(wanted, printed, exit_code):
    environment = {name: value for name, value in os.environ.items() if name != "TRAINING_FAILPOINT"}
    if wanted is not None:
        environment["TRAINING_FAILPOINT"] = wanted

    ended = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False
    )

    assert ended.stderr == ""
    assert ended.stdout.split() == printed
    assert ended.returncode == exit_code
