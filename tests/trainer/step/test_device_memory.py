"""What a process has and can get, in the kernel's own words."""

import mmap
from pathlib import Path

import psutil
import pytest
import torch

from trainer.step.device_memory import HostMeter, meter_for

MIB = 1 << 20


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    (tmp_path / "memory.current").write_text(f"{30 * MIB}\n")
    return tmp_path


@pytest.fixture
def machine_with_100_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 100 * MIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)


@pytest.mark.usefixtures("machine_with_100_mib")
@pytest.mark.parametrize(
    "limit, room_mib", [(f"{50 * MIB}\n", 20), (f"{500 * MIB}\n", 100), ("max\n", 100), (None, 100)]
)
def test_room_is_what_machine_and_control_group_both_leave(cgroup, limit, room_mib):
    if limit:
        (cgroup / "memory.max").write_text(limit)

    assert HostMeter(cgroup=cgroup).room_bytes() == room_mib * MIB


def test_the_peak_outlives_what_caused_it_until_it_is_reset():
    meter = meter_for(torch.device("cpu"))
    meter.reset()
    before = meter.used_bytes()

    with mmap.mmap(-1, 64 * MIB) as block:  # memory that nobody has had before
        for _ in range(64):
            block.write(b"x" * MIB)
    peak = meter.peak_bytes()

    assert peak - before > 60 * MIB
    assert meter.used_bytes() < peak


def test_a_kernel_that_cannot_reset_the_peak_is_taken_as_it_is(tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    (tmp_path / "clear_refs").mkdir()
    meter = HostMeter(own=tmp_path)

    meter.reset()

    assert (meter.peak_bytes(), meter.used_bytes()) == (2 * MIB, MIB)
