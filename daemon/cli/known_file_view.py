"""All that is known of one file as text for people. What comes in is printable already."""

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from daemon.cli.fault_words import NO_LOSS, fault_words
from daemon.cli.options import typed_here
from daemon.cli.validation_text import before_and_after
from trainer.protocol.places import OPEN_STATES
from trainer.protocol.text import duration_text, num_of, shell_word

if TYPE_CHECKING:
    from daemon.client.results import KnownFile, KnownJob, RecordedAttempt, ReportSummary

INDENT = "  "
NAME_WIDTH = 14
EVENTS_SHOWN = 20
ATTEMPTS_SHOWN = 5
LINES_SHOWN = 100
TIMES = slice(0, 19)  # of a time in ISO 8601: no fractions of a second


def known_file_lines(
    file: "KnownFile", *, columns: int | None = None, is_daemon_gone: bool = False
) -> Iterator[str]:
    """Yield what is known of a file, one fact per line.

    Args:
        columns: of the terminal, if it is one; what is longer goes on below.
        is_daemon_gone: no daemon is running, so nothing goes on.
    """
    yield from _wrapped(f"{file.name}: {_state(file)}", "", columns)
    for name, value in _facts(file, is_daemon_gone=is_daemon_gone):
        yield from _wrapped(f"{INDENT}{name:{NAME_WIDTH}}{value}", INDENT + " " * NAME_WIDTH, columns)
    events = file.job.events if file.job else ()
    if events:
        yield "events"
    if len(events) > EVENTS_SHOWN:
        yield f"{INDENT}… {len(events) - EVENTS_SHOWN:,} earlier (--json shows them)"
    for event in events[-EVENTS_SHOWN:]:
        yield from _wrapped(f"{INDENT}{_moment(event.at)}  {event.message}", INDENT * 3, columns)


def _state(file: "KnownFile") -> str:
    if file.state != "dropped":
        return file.state
    return "in inbox/, not accepted" if file.reason else "in inbox/, not taken in yet"


def _wrapped(text: str, indent: str, columns: int | None) -> list[str]:
    text = typed_here(text)
    if columns is None or len(text) <= columns:
        return [text]
    return wrap(text, columns, subsequent_indent=indent, break_on_hyphens=False)


def _facts(file: "KnownFile", *, is_daemon_gone: bool) -> Iterator[tuple[str, str]]:
    yield "place", file.place or _gone(file)
    if file.reason:
        yield "reason", file.reason
    if file.priority:
        yield "priority", file.priority
    if file.job:
        yield from _job_facts(file.job, file.rejected_list, file.ended_at, is_daemon_gone=is_daemon_gone)
    else:
        if file.rejected_list:
            yield "rejected", f"rows are listed in {file.rejected_list}"
        if file.ended_at:
            yield "ended", _moment(file.ended_at)
    if file.is_admitted:
        meant = file.job.id if file.job and file.other_jobs else file.name
        word = ("-- " if meant.startswith("-") else "") + shell_word(meant)
        yield "admitted", f"whatever the check of its rows finds, until: training_queue unadmit {word}"
    if file.report:
        yield "data report", _report(file.report)
        if file.report.outliers:
            yield "outliers", _lines(file.report.outliers)
    if file.other_jobs:
        others = ", ".join(file.other_jobs[:3]) + (", …" if len(file.other_jobs) > 3 else "")
        yield "same name", f"{num_of(len(file.other_jobs), 'other job')}: {others}"


def _gone(file: "KnownFile") -> str:
    newest = file.other_jobs[0] if file.other_jobs else ""
    if file.job and newest > file.job.id:  # ids begin with the time
        return f"none: job {newest} is newer and of a file with the same name"
    return "its file is gone"


def _job_facts(
    job: "KnownJob", rejected_list: str | None, ended_at: str | None, *, is_daemon_gone: bool
) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "rows", f"{job.rows:,}" + (f" ({job.format})" if job.format else "")
    if job.rejected_lines:
        where = f": {rejected_list}" if rejected_list else ""
        yield "rejected", f"{num_of(len(job.rejected_lines), 'row')}{where}"
    yield "accepted", _moment(job.accepted_at)
    if job.started_at:
        yield "started", _moment(job.started_at)
    if ended_at:
        yield "ended", _moment(ended_at)
    if job.every_attempt:
        yield "attempts", f"{len(job.every_attempt):,}, {_charged(job.attempts)}"
        following = (*job.every_attempt[1:], None)
        for attempt, after in list(zip(job.every_attempt, following, strict=True))[-ATTEMPTS_SHOWN:]:
            yield "", _attempt(attempt, after, reason=job.reason, is_daemon_gone=is_daemon_gone)
    for verdict in job.verdicts:
        together = f" with {num_of(verdict.files - 1, 'other file')}" if verdict.files > 1 else ""
        yield "gate", f"{verdict.outcome}{together} at step {verdict.global_step:,}: {verdict.reason}"
    if not job.steps:
        return
    taken = f"{job.steps:,} of " if job.total_steps else ""
    steps = taken + num_of(job.total_steps or job.steps, "step")
    recorded = job.steps - job.unrecorded_steps
    of_fewer = f"; time and loss are of {recorded:,} of them" if job.unrecorded_steps else ""
    yield "trained", f"{num_of(job.rows_trained, 'row')} in {steps}{of_fewer}"
    speed = f", {job.tokens_per_s:,.0f} tokens/s" if job.tokens_per_s else ""
    yield "time", f"{duration_text(job.seconds)}{speed}"
    first, last = _loss(job.first_loss), _loss(job.last_loss)
    yield "loss", f"{first} in its first step, {last} in its last"
    yield "validation", _validation(job)
    if job.checkpoint:
        yield "checkpoint", job.checkpoint + ("" if job.is_checkpoint_kept else ", which has been removed")


def _charged(attempts: int) -> str:
    """Return how many attempts count towards `daemon.max_attempts`, after which the file fails."""
    return f"{attempts:,} counted against the file" if attempts else "none counted against the file"


def _lines(numbers: tuple[int, ...]) -> str:
    more = (
        f", and {len(numbers) - LINES_SHOWN:,} more (--json shows them)" if len(numbers) > LINES_SHOWN else ""
    )
    lines = "line" if len(numbers) == 1 else "lines"
    return f"{lines} {', '.join(map(str, numbers[:LINES_SHOWN]))}{more}"


def _attempt(
    attempt: "RecordedAttempt", after: "RecordedAttempt | None", *, reason: str | None, is_daemon_gone: bool
) -> str:
    """Return how an attempt ended, and why; the reason of the file stands above already."""
    if attempt.ended_at is None:
        end = "not ended; no daemon is running" if is_daemon_gone else "not ended"
    elif attempt.verdict == "interrupted" and not attempt.message:
        # Nobody saw its end: it is known by the last heartbeat, or only by the attempt that followed
        is_later = after is not None and attempt.ended_at[TIMES] >= after.started_at[TIMES]
        end = f"interrupted{' before' if is_later else ', last seen'} {_moment(attempt.ended_at)}"
    elif attempt.verdict == "completed" and after is not None:
        end = f"trained to its end {_moment(attempt.ended_at)}, then undone, or lost before it was saved"
    else:
        verdict = fault_words(attempt.verdict) if attempt.verdict else "ended"
        end = f"{verdict} {_moment(attempt.ended_at)}"
    why = f": {attempt.message}" if attempt.message and attempt.message != reason else ""
    return f"{attempt.number}. {_moment(attempt.started_at)}, {end}{why}"


def _validation(job: "KnownJob") -> str:
    is_open = job.state in OPEN_STATES
    if job.before is None and job.after is None:
        return "not measured before it" if is_open else "not measured before or after it"
    others = f"; other jobs took {num_of(job.other_steps, 'step')} in between" if job.other_steps else ""
    return f"{before_and_after(job.before, job.after, job.validation_change, is_open=is_open)}{others}"


def _loss(loss: float | None) -> str:
    return NO_LOSS if loss is None else f"{loss:.4f}"


def _report(report: "ReportSummary") -> str:
    findings = [*report.blocks, *report.warnings]
    admitted = "admitted; " if report.is_admitted else ""
    inspected = f"{num_of(report.sampled_rows, 'row')} inspected"
    return f"{admitted}{inspected}; {'; '.join(findings) or 'nothing unusual was found'}"


def _moment(at: str | None) -> str:
    return f"{at[TIMES].replace('T', ' ')} UTC" if at else "-"
