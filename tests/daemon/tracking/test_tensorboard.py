"""TensorBoard's own reader finds each step once, also after kills."""

import os
import signal
import subprocess
import sys

import pytest

from daemon.tracking.to_tensorboard import TensorBoard
from tests.daemon.tracking.life import crash, evaluate, follow, go_back, train

KILLED = """
import os, signal, sys
from tensorboard.summary.writer.record_writer import RecordWriter
left, write = int(sys.argv.pop()), RecordWriter.write

def killed(self, data):
    global left
    if left == 0:  # in the middle of a record
        self._writer.write(data[:9])
        self._writer.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(self, data)
    self._writer.flush()

RecordWriter.write = killed
from daemon.tracking.__main__ import main
main()
"""


@pytest.fixture
def folder(layout):
    return layout.base / "logs" / "tensorboard"


def read(folder):
    """Return the curves and texts of each run as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    multiplexer = EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    runs = {}
    for run, found in sorted(multiplexer.Runs().items()):
        accumulator = multiplexer.GetAccumulator(run)
        scalars = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in found["scalars"]}
        texts = {
            tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in accumulator.Tensors(tag)]
            for tag in found["tensors"]
        }
        runs[run] = (scalars, texts)
    return runs


def steps(folder, run=0):
    scalars, _ = list(read(folder).values())[run]
    return [step for step, _ in scalars["train/loss"]]


def test_curves_and_texts_are_what_tensorboard_reads(layout, ledger, folder):
    ledger.add_event("started", "training a.jsonl", "1", {"file": "a.jsonl", "first_step": 0})
    train(ledger, 1, 2)
    evaluate(ledger, 2)

    follow(layout, TensorBoard(folder))

    [(run, (scalars, texts))] = read(folder).items()
    assert run.startswith("training-")
    assert scalars["train/loss"] == [(1, 1.0), (2, 0.5)]
    assert scalars["suites/skills/exact_match"] == [(2, 0.5)]
    assert texts == {"notes/file": [(1, "training a.jsonl")], "previews/Say hi": [(2, "hi 2")]}


def test_one_file_after_the_other_is_one_curve(layout, ledger, folder):
    for numbers in ([1, 2, 3, 4], [5]):
        train(ledger, *numbers)
        follow(layout, TensorBoard(folder))
    crash(ledger, 2)
    train(ledger, 3, 4, 5, 6)
    follow(layout, TensorBoard(folder))

    assert steps(folder) == [1, 2, 3, 4, 5, 6]


def test_a_branch_is_a_run_of_its_own(layout, ledger, folder):
    train(ledger, 1, 2, 3)
    go_back(ledger, 1, to=1, left=3, branches=[])
    train(ledger, 2)

    follow(layout, TensorBoard(folder))

    first, second = read(folder)
    assert second == f"{first}-b1"
    assert [steps(folder, 0), steps(folder, 1)] == [[1, 2, 3], [2]]


@pytest.mark.long
@pytest.mark.parametrize("after", [0, 1, 3])
def test_kill_9_between_and_within_records_loses_and_repeats_nothing(layout, ledger, folder, after):
    layout.config_file.write_text('{"tracking": {"tensorboard": {}}}')
    train(ledger, 1, 2, 3, 4)
    run = ["tensorboard", "--once", "--base-dir", str(layout.base)]

    killed = subprocess.run([sys.executable, "-P", "-c", KILLED, *run, str(after)], check=False)
    again = subprocess.run([sys.executable, "-P", "-c", KILLED, *run, "1"], check=False)
    train(ledger, 5)
    subprocess.run([sys.executable, "-P", "-m", "daemon.tracking", *run], check=True)

    assert [killed.returncode, again.returncode] == [-signal.SIGKILL] * 2
    assert steps(folder) == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_written_is_tried_again(layout, ledger, folder):
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file stands there")
    train(ledger, 1)

    follow(layout, TensorBoard(folder))
    os.remove(folder)
    follow(layout, TensorBoard(folder))

    assert steps(folder) == [1]
