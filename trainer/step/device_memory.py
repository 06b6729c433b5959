"""How much memory a device has given to this process at most, and how much it can still give."""

from pathlib import Path
from typing import Protocol

import psutil
import torch

RESET_PEAK = "5"  # what the kernel understands in /proc/self/clear_refs
OWN = Path("/proc/self")
CGROUP = Path("/sys/fs/cgroup")


class Meter(Protocol):
    """Watches the memory of one device."""

    def reset(self) -> None:
        """Let the peak begin again."""
        ...

    def used_bytes(self) -> int:
        """Return what this process has now."""
        ...

    def peak_bytes(self) -> int:
        """Return the most it has had since the last reset."""
        ...

    def room_bytes(self) -> int:
        """Return what it can still get."""
        ...


def meter_for(device: torch.device) -> Meter:
    """Return the meter of a device."""
    return GpuMeter(device) if device.type == "cuda" else HostMeter()


class GpuMeter:
    """The memory of a GPU, as torch's allocator counts it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)

    def used_bytes(self) -> int:
        return torch.cuda.memory_allocated(self._device)

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self._device)

    def room_bytes(self) -> int:
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)


class HostMeter:
    """The memory of the machine, as the kernel counts it for this process.

    Args:
        own: the kernel's files about this process.
        cgroup: those about its control group, whose limit may be below what the machine has.
    """

    def __init__(self, *, own: Path = OWN, cgroup: Path = CGROUP) -> None:
        self._own = own
        self._cgroup = cgroup

    def reset(self) -> None:
        try:
            (self._own / "clear_refs").write_text(RESET_PEAK)
        except OSError:
            return  # a kernel without it counts from the start of the process, which is on the safe side

    def used_bytes(self) -> int:
        return self._own_bytes("VmRSS")

    def peak_bytes(self) -> int:
        return self._own_bytes("VmHWM")

    def room_bytes(self) -> int:
        room = psutil.virtual_memory().available
        try:
            limit = int((self._cgroup / "memory.max").read_text())
            return min(room, limit - int((self._cgroup / "memory.current").read_text()))
        except (OSError, ValueError):  # no control group, or one without a limit: "max"
            return room

    def _own_bytes(self, name: str) -> int:
        lines = (self._own / "status").read_text().splitlines()
        kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
        return int(kibibytes) * 1024
