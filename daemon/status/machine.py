"""Memory and GPUs as numbers for the status."""

import ctypes
from collections.abc import Callable
from contextlib import suppress

import psutil

from trainer.protocol.status import Gpu, Memory


def read_memory(worker_rss_bytes: int | None) -> Memory:
    """Return what daemon, worker and this machine use.

    Args:
        worker_rss_bytes: what its `Process` says, wherever it runs; None without a worker.
    """
    return Memory(
        daemon_rss_bytes=psutil.Process().memory_info().rss,
        worker_rss_bytes=worker_rss_bytes,
        system_available_bytes=psutil.virtual_memory().available,
    )


LIBRARY = "libnvidia-ml.so.1"  # of the driver; what pynvml loads


class GpuReader:
    """Reads GPUs through NVIDIA's management library; a machine without it has none."""

    def __init__(self) -> None:
        self._handles = self._find()

    @staticmethod
    def _find() -> list[object]:
        if not _has_driver():
            return []
        import pynvml  # only here: its tables cost memory that a machine without a GPU need not spend

        try:
            pynvml.nvmlInit()
            return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            return []

    def read(self) -> list[Gpu]:
        """Return every GPU's state; one that does not answer is left out."""
        return [gpu for handle in self._handles if (gpu := _read_gpu(handle))]


def _has_driver() -> bool:
    with suppress(OSError):
        ctypes.CDLL(LIBRARY)
        return True
    return False


def _read_gpu(handle: object) -> Gpu | None:
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    return Gpu(
        name=name.decode() if isinstance(name, bytes) else name,
        used_bytes=memory.used,
        total_bytes=memory.total,
        utilization_percent=_optional(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        temperature_c=_optional(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    )


def _optional(read: Callable[[], int]) -> int | None:
    import pynvml

    try:
        return int(read())
    except pynvml.NVMLError:
        return None  # some GPUs do not tell
