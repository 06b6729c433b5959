"""What whoever takes over can do next: commands that are true at this moment. Changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.client.models_now import DaemonNow, DiskNow
from daemon.client.queue import Queue
from daemon.client.version_lines import VersionLine
from daemon.jobs.wishes import FORGETTING, Unfinished
from daemon.ledger.crashes import CrashGroup
from daemon.ledger.evaluation_records import Validation
from trainer.protocol.places import Outcome
from trainer.protocol.text import num_of, printable, size_text

WORSE = 1.05
"""Times the validation loss of the best version: from there on, going back is offered."""
REASON_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """Something to do."""

    why: str
    """Printable."""
    command: str
    """As it is typed, but for `--base-dir`."""


def next_steps(
    daemon: DaemonNow,
    versions: Sequence[VersionLine],
    *,
    crashes: Sequence[CrashGroup],
    disk: DiskNow | None,
    queue: Queue,
    has_checkpoint: bool,
    validation: Validation | None,
    unfinished: Unfinished | None,
) -> Iterator[NextStep]:
    """Yield what to do, the most urgent first; nothing if nothing waits for a person.

    Args:
        versions: all of them.
        crashes: those of the period.
        validation: the newest one of the model as it is.
        unfinished: what the model was to forget, and has not.
    """
    yield from _about_the_daemon(daemon)
    is_at_work = daemon.life == "running" and (daemon.reason or "").startswith(FORGETTING)
    if unfinished and not is_at_work:
        yield NextStep(why=unfinished.text, command=unfinished.command)
    if disk and disk.min_free_bytes is not None and disk.free_bytes < 2 * disk.min_free_bytes:
        free, least = size_text(disk.free_bytes), size_text(disk.min_free_bytes)
        yield NextStep(
            why=f"only {free} of disk space are free; below {least} no file is started",
            command="training_health check",
        )
    # What is still to be done about what was no crash, other lines say
    number = sum(group.count for group in crashes if group.is_crash)
    if number:
        times = "once" if number == 1 else f"{number:,} times"
        yield NextStep(why=f"the worker crashed {times}", command="training_health crashes")
    yield from _about_files(queue)
    yield from _about_versions(versions, validation)
    if has_checkpoint and not any(version.is_current for version in versions):
        yield NextStep(why="the newest checkpoint has no version", command="training_models create")


def _about_the_daemon(daemon: DaemonNow) -> Iterator[NextStep]:
    reason = f": {printable(daemon.reason, limit=REASON_CHARACTERS)}" if daemon.reason else ""
    if daemon.life in ("stopped", "never started", "dead"):
        waits = f"; {num_of(daemon.waiting, 'file')} waiting" if daemon.waiting else ""
        yield NextStep(why=f"no daemon runs{waits}", command="training_daemon start")
    elif daemon.life != "running":
        yield NextStep(why=f"the daemon is {daemon.text}", command="training_health check")
    elif daemon.state == "paused":
        yield NextStep(why=f"training is paused{reason}", command="training_controller resume")
    elif daemon.state == "blocked":
        yield NextStep(why=f"training is blocked{reason}", command="training_health check")
    if daemon.alerts and daemon.life == "running":
        yield NextStep(why=f"{num_of(len(daemon.alerts), 'alert')}", command="training_controller status")


def _about_files(queue: Queue) -> Iterator[NextStep]:
    for outcome, option, what in (
        (Outcome.FAILED, "--failed", "failed"),
        (Outcome.SKIPPED, "--skipped", "skipped or undone"),
    ):
        files, number = queue.finished([outcome], limit=1)
        if number:
            named = f"such as {files[0].name}" if number > 1 else files[0].name
            yield NextStep(
                why=f"{num_of(number, 'file')} {what} ({named})", command=f"training_queue list {option}"
            )


def _about_versions(versions: Sequence[VersionLine], newest: Validation | None) -> Iterator[NextStep]:
    if newest is None or newest.loss is None:
        return
    of_average = newest.weights == "average"
    measured = [
        version
        for version in versions
        if version.validation_loss is not None and (version.validation_weights == "average") == of_average
    ]
    best = min(measured, key=lambda version: version.validation_loss or 0.0, default=None)
    if best is None or not best.validation_loss:
        return
    is_worse = newest.loss > WORSE * best.validation_loss
    if is_worse and best.has_optimizer_state and not best.is_current:
        whose = " of the averaged weights" if of_average else ""
        yield NextStep(
            why=f"the validation loss{whose} is {newest.loss:.4f}; "
            f"at {best.id} it was {best.validation_loss:.4f}",
            command=f"training_models rollback --to {best.id} --dry-run",
        )
