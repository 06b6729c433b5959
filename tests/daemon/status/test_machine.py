"""Memory and GPUs, with a management library that only pretends."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from daemon.status import machine
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
        monkeypatch.setattr(machine, "_has_driver", lambda: True)
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


def test_pynvml_is_left_alone_on_a_machine_without_the_drivers_library(monkeypatch):
    monkeypatch.setattr(machine, "LIBRARY", "libnvidia-ml-that-nobody-has.so.1")
    monkeypatch.setitem(sys.modules, "pynvml", None)  # its import would fail

    assert GpuReader().read() == []


def test_the_library_that_is_looked_for_is_the_one_that_pynvml_loads():
    spec = importlib.util.find_spec("pynvml")
    assert spec
    assert spec.origin

    assert f'CDLL("{machine.LIBRARY}")' in Path(spec.origin).read_text()


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


def test_the_memory_of_a_worker_is_what_its_process_says():
    assert read_memory(12_345).worker_rss_bytes == 12_345
