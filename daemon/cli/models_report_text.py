"""The sentences of the report on the model, for the terminal and the page. What comes in is printable."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from daemon.cli.fault_words import NO_CRASH, fault_words
from trainer.protocol.text import duration_text, num_of, size_text

if TYPE_CHECKING:
    from daemon.client.results import (
        CrashGroup,
        DaemonNow,
        DiskNow,
        EndedOtherwise,
        GateVerdict,
        ModelsReport,
        PeriodFile,
        RecordedBranch,
        Repeated,
    )

NOTHING_TO_DO = "nothing waits for you"


def moment(at: str) -> str:
    """Return a time in ISO 8601 as people read it, in UTC."""
    return f"{at[:10]} {at[11:16]}"


def since_text(report: "ModelsReport") -> str:
    """Return what the report begins with."""
    since = report.since
    begin, end = (datetime.fromisoformat(at).timestamp() for at in (since.at, report.made_at))
    ago = f"{duration_text(max(0.0, end - begin))} ago"
    if since.version:
        return f"{since.version} (step {since.global_step or 0:,}, {moment(since.at)} UTC, {ago})"
    return f"{moment(since.at)} UTC ({ago})"


def daemon_text(daemon: "DaemonNow") -> str:
    """Return what the daemon is doing."""
    if daemon.life != "running" or daemon.state is None:
        return daemon.text
    file = f" {daemon.file}" if daemon.file and daemon.state == "training" else ""
    reason = f": {daemon.reason}" if daemon.reason else ""
    return f"{daemon.text}, {daemon.state}{file}{reason}"


def model_text(report: "ModelsReport") -> str:
    """Return how far the model is, and where it was."""
    if report.current_step == 0:
        return "not trained yet"
    then = f"step {report.step_then:,}"
    if number := sum(branch.from_step < branch.left_step for branch in report.went_back):
        times = "once" if number == 1 else f"{number:,} times"
        furthest = min(branch.from_step for branch in report.went_back if branch.from_step < branch.left_step)
        where = f"to step {furthest:,} at the furthest"
        return f"at step {report.current_step:,}; it went back {times} since then, {where}"
    if report.step_then == report.current_step:
        return f"at {then}, as then"
    return f"at step {report.current_step:,}; at {then} then"


def trained_text(report: "ModelsReport") -> str:
    """Return what was trained, all files together."""
    sums = report.trained
    if not sums.files:
        return "nothing"
    return (
        f"{num_of(sums.files, 'file')}, {num_of(sums.rows, 'row')}, {num_of(sums.steps, 'step')}, "
        f"{num_of(sums.tokens, 'token')}, in {duration_text(sums.seconds)} of training"
    )


def losses_text(file: "PeriodFile") -> str:
    """Return the first and the last loss of a file."""
    first, last = ("-" if loss is None else f"{loss:.3f}" for loss in (file.first_loss, file.last_loss))
    return f"{first} -> {last}"


def why_text(file: "EndedOtherwise") -> str:
    """Return why a file failed or was skipped, and whether that is mended."""
    if file.completed_at is None:
        return file.reason
    at = moment(file.completed_at)
    return f"{file.reason.removesuffix('.')}. A file of this name was completed afterwards ({at})"


def went_back_text(branch: "RecordedBranch") -> str:
    """Return from where to where the model went."""
    return (
        f"{moment(branch.at)}  from step {branch.left_step:,} to step {branch.from_step:,} "
        f"({branch.why}): {branch.reason}"
    )


def verdict_text(verdict: "GateVerdict") -> str:
    """Return what the gate said."""
    return f"{moment(verdict.at)}  {verdict.message}"


def repeated_text(repeated: "Repeated") -> str:
    """Return a warning or an error, and how often there was one of its kind."""
    times = "" if repeated.count == 1 else f" (the newest of {repeated.count:,} of this kind)"
    return f"{moment(repeated.newest_at)}  {repeated.level}: {repeated.message}{times}"


def _crash_text(crash: "CrashGroup") -> str:
    """Return a kind of crash, and what to do about it."""
    file = f" in {crash.file}" if crash.file else ""
    name = fault_words(crash.kind) + ("" if crash.is_crash else f" ({NO_CRASH})")
    count = f"{moment(crash.newest_at)}  {name}, {crash.count:,} x"
    return f"{count}, the last one{file}: {crash.message.removesuffix('.')}. {crash.advice}"


def disk_text(disk: "DiskNow") -> str:
    """Return how much room there is."""
    least = "" if disk.min_free_bytes is None else f"; training stops below {size_text(disk.min_free_bytes)}"
    full = "" if disk.full_in_s is None else f"; full in {duration_text(disk.full_in_s)} at this pace"
    return f"{size_text(disk.free_bytes)} of {size_text(disk.total_bytes)} free{full}{least}"


def trouble_texts(report: "ModelsReport") -> Iterator[str]:
    """Yield alerts, and other warnings and errors."""
    when = "now" if report.daemon.life == "running" else "when the daemon ended"
    yield from (f"{when}: {alert}" for alert in report.daemon.alerts)
    for repeated in report.repeated:
        if repeated.count > 1 or repeated.message not in report.daemon.alerts:
            yield repeated_text(repeated)


def crash_texts(report: "ModelsReport") -> Iterator[str]:
    """Yield the crashes of workers and of the daemon."""
    yield from map(_crash_text, report.crashes)
    if report.daemon_crashes:
        times = "once" if report.daemon_crashes == 1 else f"{report.daemon_crashes:,} times"
        yield f"a daemon ended {times} without being stopped (killed, or the machine went down)"
