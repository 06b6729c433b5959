"""Read from this machine's system whether a process computes, reads or writes, and how much memory it has."""

import psutil

from daemon.supervision.hang_watch import NO_SIGNS, Signs


def read_signs(pid: int) -> Signs:
    """Return what a process and its children have used so far; nothing for one that cannot be seen."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        state = str(process.status())
    except psutil.Error:
        return NO_SIGNS
    return Signs(sum(map(_cpu_s, family)), sum(map(_io_bytes, family)), state)


def read_rss(pid: int) -> int | None:
    """Return what a process and those it has started use together, in bytes; None once it has ended."""
    try:
        process = psutil.Process(pid)
        own: int = process.memory_info().rss
        children = process.children(recursive=True)
    except psutil.Error:
        return None
    return own + sum(_rss_or_nothing(child) for child in children)


def _rss_or_nothing(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended


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
