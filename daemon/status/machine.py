"""Memory and GPUs as numbers for the status."""

from collections.abc import Callable

import psutil

from trainer.protocol.status import Gpu, Memory


def read_memory(worker_pid: int | None) -> Memory:
    """Return what daemon, worker and machine use."""
    return Memory(
        daemon_rss_bytes=psutil.Process().memory_info().rss,
        worker_rss_bytes=_rss(worker_pid) if worker_pid else None,
        system_available_bytes=psutil.virtual_memory().available,
    )


def _rss(pid: int) -> int | None:
    """Return what a process and those it has started use together."""
    try:
        worker = psutil.Process(pid)
        own: int = worker.memory_info().rss
        children = worker.children(recursive=True)
    except psutil.Error:
        return None  # it has just ended
    return own + sum(_rss_or_nothing(child) for child in children)


def _rss_or_nothing(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended


class GpuReader:
    """Reads GPUs through NVIDIA's management library; a machine without it has none."""

    def __init__(self) -> None:
        self._handles = self._find()

    @staticmethod
    def _find() -> list[object]:
        import pynvml  # only here: its tables cost memory that a machine without a GPU need not spend

        try:
            pynvml.nvmlInit()
            return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            return []

    def read(self) -> list[Gpu]:
        """Return every GPU's state; one that does not answer is left out."""
        return [gpu for handle in self._handles if (gpu := _read_gpu(handle))]


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
