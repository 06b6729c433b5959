"""Read from the system whether a process computes, reads or writes."""

import psutil

from daemon.supervision.hang_watch import Signs


def read_signs(pid: int) -> Signs:
    """Return what a process and its children have used so far; nothing for one that cannot be seen."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        state = str(process.status())
    except psutil.Error:
        return Signs(cpu_s=0.0, io_bytes=0, state="unknown")
    return Signs(sum(map(_cpu_s, family)), sum(map(_io_bytes, family)), state)


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0  # it has just ended
    return float(times.user + times.system)


def _io_bytes(process: psutil.Process) -> int:
    try:
        io = process.io_counters()
    except (psutil.Error, AttributeError):  # some systems do not count
        return 0
    # What a program asked for and what came from the disk: mapped files are only in the second,
    # files in the page cache only in the first
    return int(io.read_chars + io.write_chars + io.read_bytes + io.write_bytes)
