"""What a worker says of itself, whose fault an exception is, and how long one without a daemon may live."""

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import Timeout

from tests.support import eventually
from trainer.config.loader import BadConfig
from trainer.config.lock import LockedSetting
from trainer.mains import worker as worker_module
from trainer.mains.fault_kind import classify, describe
from trainer.mains.worker import ORPHAN_GRACE_S, DaemonLink, beat
from trainer.profiles.base import BadProfileOption, BrokenProfile, UnknownProfile
from trainer.profiles.registry import make_profile
from trainer.protocol.channel import Channel
from trainer.protocol.checkpoints import NoUsableCheckpoint
from trainer.protocol.faults import (
    BrokenModel,
    MissingDevice,
    ModelUnavailable,
    NotFinite,
    UnusableModel,
    UnusableReplay,
)
from trainer.protocol.files import UnreadableFile
from trainer.protocol.job import FaultKind, Window
from trainer.protocol.messages import COMMANDS, Heartbeat
from trainer.reporting.reporter import Reporter

CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
WINDOW = Window(first=2, last=7)

# ---- whose fault it is


@pytest.mark.parametrize(
    "error, fault",
    [
        (BadConfig("training.precision"), FaultKind.BAD_CONFIG),
        (LockedSetting("data.max_length"), FaultKind.BAD_CONFIG),
        (UnreadableFile("models/unlocked.json"), FaultKind.BAD_CONFIG),
        (UnknownProfile("rot13"), FaultKind.BAD_CONFIG),
        (BadProfileOption("colour"), FaultKind.BAD_CONFIG),
        (BrokenProfile("at line 3 raises KeyError"), FaultKind.BAD_CONFIG),
        (UnusableModel("no chat template"), FaultKind.BAD_CONFIG),
        (ModelUnavailable("no network"), FaultKind.ENVIRONMENT),
        (UnusableReplay("a.jsonl is gone"), FaultKind.ENVIRONMENT),
        (NoUsableCheckpoint("all are damaged"), FaultKind.ENVIRONMENT),
        (MissingDevice("the GPU is gone"), FaultKind.ENVIRONMENT),
        (Timeout("models/.worker.lock"), FaultKind.ENVIRONMENT),
        (OSError(errno.ENOSPC, "No space left on device"), FaultKind.ENVIRONMENT),
        (PermissionError("models"), FaultKind.ENVIRONMENT),
        (RuntimeError("CUDA error: unspecified launch failure"), FaultKind.ENVIRONMENT),
        (NotFinite("the loss is nan", WINDOW), FaultKind.NAN),
        (BrokenModel("a weight is not finite"), FaultKind.NAN),
        (torch.OutOfMemoryError("CUDA out of memory."), FaultKind.GPU_OUT_OF_MEMORY),
        (RuntimeError(CPU_IS_FULL), FaultKind.OUT_OF_MEMORY),
        (MemoryError(), FaultKind.OUT_OF_MEMORY),
        (RuntimeError("what nobody expected"), FaultKind.CRASH),
        (ValueError("what nobody expected"), FaultKind.CRASH),
    ],
)
def test_every_fault_has_a_class(error, fault):
    assert classify(error) is fault


@pytest.mark.parametrize(
    "error, left_out",
    [(NotFinite("the loss is nan", WINDOW), WINDOW), (BrokenModel("x"), None), (RuntimeError("x"), None)],
)
def test_a_fault_names_the_steps_to_leave_out(error, left_out):
    fault = describe(error, "job-1")

    assert (fault.left_out, fault.job_id, fault.error_class) == (left_out, "job-1", type(error).__name__)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("rot13", {}, 'profile.name is "rot13"; expected one of plain'),
        ("plain", {"colour": "red"}, "profile.options has colour; the profile plain takes none"),
    ],
)
def test_a_profile_that_cannot_be_honoured_is_a_bad_config(name, options, message):
    with pytest.raises((UnknownProfile, BadProfileOption)) as refused:
        make_profile(name, options, base_dir=Path())

    assert message in str(refused.value)
    assert classify(refused.value) is FaultKind.BAD_CONFIG


# ---- signs of life


class Beats:
    """Stands in for the link to the daemon: notes what is told, and ends the beating after so many."""

    def __init__(self, number: int) -> None:
        self.told: list[Heartbeat] = []
        self._number = number

    def beat(self, observe: Callable[[], Heartbeat]) -> None:
        self.told.append(observe())

    def wait(self, timeout_s: float) -> bool:
        return len(self.told) == self._number


def test_heartbeats_tell_what_is_done_and_how_much_of_it(monkeypatch):
    beats = Beats(2)
    reporter = Reporter(lambda event: None)
    reporter.section = "training"
    monkeypatch.setattr(beats, "beat", lambda observe: (beats.told.append(observe()), reporter.tick()))

    beat(beats, beats, SimpleNamespace(reporter=reporter))

    assert beats.told == [Heartbeat(section="training", ticks=0), Heartbeat(section="training", ticks=1)]


def test_before_the_engine_is_there_heartbeats_tell_of_loading():
    beats = Beats(1)

    beat(beats, beats)

    assert beats.told == [Heartbeat(section="loading")]


# ---- without a daemon


@pytest.mark.parametrize("saves_for_s, lives_for_s", [(0, 60), (59, 60), (90, 90)])
def test_a_worker_without_its_daemon_is_given_a_minute_but_its_save_is_never_cut(
    monkeypatch, saves_for_s, lives_for_s
):
    begun, ended = threading.Event(), threading.Event()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        begun.wait()
        slept.append(seconds)

    monkeypatch.setattr(worker_module, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(worker_module, "os", SimpleNamespace(_exit=lambda code: ended.set()))
    ours, theirs = socket.socketpair()
    link = DaemonLink(Channel(theirs, COMMANDS))
    link.is_saving = lambda: sum(slept) < saves_for_s

    ours.close()
    begun.set()
    eventually(ended.is_set, what="the worker ends itself")

    assert ORPHAN_GRACE_S == 60.0
    assert sum(slept) == lives_for_s
    assert (link.is_leaving, link.is_lost, link.get(0).reason) == (True, True, "the daemon is gone")
    theirs.close()
