"""Memory and GPUs, with a management library that only pretends."""

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from daemon.status.machine import GpuReader, read_memory


class FakeNvml(ModuleType):
    """As much of pynvml as is used; `broken` names the functions that fail."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *names, broken=()):
        super().__init__("pynvml")
        self.names = names
        self.broken = set(broken)

    def _check(self, function, handle=None):
        if function in self.broken or (function, handle) in self.broken:
            raise self.NVMLError(function)

    def nvmlInit(self):
        self._check("nvmlInit")

    def nvmlDeviceGetCount(self):
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._check("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(used=1000 + handle, total=9000)

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._check("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=42)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self._check("nvmlDeviceGetTemperature")
        return 65


@pytest.fixture
def pretend(monkeypatch):
    def pretend(*names, broken=()):
        library = FakeNvml(*names, broken=broken)
        monkeypatch.setitem(sys.modules, "pynvml", library)
        return library

    return pretend


def test_every_gpu_is_read(pretend):
    pretend("H200", b"H100")

    first, second = GpuReader().read()

    assert first.model_dump() == {
        "name": "H200", "used_bytes": 1000, "total_bytes": 9000, "utilization_percent": 42,
        "temperature_c": 65,
    }  # fmt: skip
    assert (second.name, second.used_bytes) == ("H100", 1001)


def test_a_machine_without_a_driver_has_no_gpus(pretend):
    pretend("H200", broken=["nvmlInit"])

    assert GpuReader().read() == []


def test_a_gpu_that_does_not_answer_is_left_out_and_comes_back(pretend):
    library = pretend("H200", "H100", broken=[("nvmlDeviceGetMemoryInfo", 0)])
    reader = GpuReader()
    without = [gpu.name for gpu in reader.read()]

    library.broken.clear()

    assert without == ["H100"]
    assert [gpu.name for gpu in reader.read()] == ["H200", "H100"]


def test_what_a_gpu_does_not_tell_is_null(pretend):
    pretend("GB10", broken=["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature"])

    [gpu] = GpuReader().read()

    assert (gpu.utilization_percent, gpu.temperature_c, gpu.used_bytes) == (None, None, 1000)


def test_the_real_library_does_not_fail_on_this_machine():
    assert isinstance(GpuReader().read(), list)


def test_memory_of_daemon_and_machine_is_known_without_a_worker():
    memory = read_memory(None)

    assert memory.daemon_rss_bytes > 1_000_000
    assert memory.system_available_bytes > 0
    assert memory.worker_rss_bytes is None


def test_memory_of_a_living_worker_is_known():
    assert read_memory(os.getpid()).worker_rss_bytes > 1_000_000


def test_what_a_worker_has_started_counts_as_its_memory():
    alone = read_memory(os.getpid()).worker_rss_bytes
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()  # before, it may not have become another program yet
        child_bytes = read_memory(child.pid).worker_rss_bytes

        together = read_memory(os.getpid()).worker_rss_bytes
        child.communicate()

    assert child_bytes > 100_000
    assert together > alone


def test_a_worker_that_has_just_ended_has_no_memory():
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()

    assert read_memory(process.pid).worker_rss_bytes is None


def test_a_child_that_has_just_ended_does_not_hide_the_memory_of_its_worker(monkeypatch):
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        children = psutil.Process().children()
        child.communicate()
    monkeypatch.setattr(psutil.Process, "children", lambda worker, recursive: children)

    memory = read_memory(os.getpid())

    assert memory.worker_rss_bytes > 1_000_000
