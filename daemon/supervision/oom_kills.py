"""Ask the kernel how many processes it has killed because memory ran out."""

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
WHOLE_MACHINE = Path("/proc/vmstat")


def count_oom_kills(
    *, cgroups: Path = CGROUPS, own_cgroups: Path = OWN_CGROUPS, whole_machine: Path = WHOLE_MACHINE
) -> int:
    """Return the kernel's count, which only ever grows; 0 where it keeps none.

    That of our own control group comes first: the machine's also counts the processes of others.
    """
    for path in [*_counters(cgroups, own_cgroups), whole_machine]:
        if (count := _read(path)) is not None:
            return count
    return 0


def _counters(cgroups: Path, own_cgroups: Path) -> Iterator[Path]:
    """Yield the files that may hold the count: first of version 2, then of version 1."""
    v2, v1 = "memory.events", "memory.oom_control"
    lines = _lines(own_cgroups)
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        inside = group.lstrip("/")
        if not controllers:
            yield cgroups / inside / v2
            yield cgroups / "unified" / inside / v2
        elif "memory" in controllers.split(","):
            yield cgroups / "memory" / inside / v1
    yield cgroups / "memory" / v1  # in a container the group's path may be the host's, and its files be here


def _read(path: Path) -> int | None:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # this kernel has other files
