"""Memory of the machine in GB (10^9 bytes), as plain numbers for scripts."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.client.results import Status

MEMINFO = Path("/proc/meminfo")
GB = 1e9


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """One GPU."""

    name: str
    total_gb: float
    used_gb: float
    free_gb: float


@dataclass(frozen=True, kw_only=True)
class MemoryNow:
    """Memory as the daemon has measured it last; None where it is not known."""

    ram_total_gb: float | None
    ram_used_gb: float | None
    """What programs cannot get."""
    ram_free_gb: float | None
    """What they can still get; caches of files count as free."""
    gpu_total_gb: float | None
    """Of all GPUs together, as the next two; None without one."""
    gpu_used_gb: float | None
    gpu_free_gb: float | None
    process_gb: float | None
    """Of the daemon and its worker together."""
    daemon_process_gb: float | None
    worker_process_gb: float | None
    gpus: tuple[GpuMemory, ...]


def memory_now(status: "Status", *, meminfo: Path = MEMINFO) -> MemoryNow:
    """Return the numbers of a status. One that is not kept up to date says nothing of a moment like this."""
    fields = status.fields if status.is_running else {}
    memory = fields.get("memory") or {}
    total, free = _total_bytes(meminfo), memory.get("system_available_bytes")
    daemon, worker = memory.get("daemon_rss_bytes"), memory.get("worker_rss_bytes")
    ours = [size for size in (daemon, worker) if size is not None]
    gpus = tuple(
        GpuMemory(
            name=gpu["name"],
            total_gb=gpu["total_bytes"] / GB,
            used_gb=gpu["used_bytes"] / GB,
            free_gb=(gpu["total_bytes"] - gpu["used_bytes"]) / GB,
        )
        for gpu in fields.get("gpus") or []
    )
    return MemoryNow(
        ram_total_gb=_gb(total),
        ram_used_gb=_gb(None if total is None or free is None else max(0, total - free)),
        ram_free_gb=_gb(free),
        gpu_total_gb=sum(gpu.total_gb for gpu in gpus) if gpus else None,
        gpu_used_gb=sum(gpu.used_gb for gpu in gpus) if gpus else None,
        gpu_free_gb=sum(gpu.free_gb for gpu in gpus) if gpus else None,
        process_gb=_gb(sum(ours) if ours else None),
        daemon_process_gb=_gb(daemon),
        worker_process_gb=_gb(worker),
        gpus=gpus,
    )


def _gb(size: int | None) -> float | None:
    return None if size is None else size / GB


def _total_bytes(meminfo: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    return None
