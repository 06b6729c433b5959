"""Say in five lines where things stand and what one can do next."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from daemon.cli.status_view import activity, is_stepping
from daemon.decide import Stopping
from trainer.protocol.text import duration_text, num_of, printable

if TYPE_CHECKING:
    from daemon.client.results import Status

LONGEST = 45  # characters of a message, so that each is one line of the narrowest terminal
LONGEST_NAME = 20  # of the file that it is about

# What the daemon is doing -> what one can do
NEXT = {
    "idle": "training queue add{here} FILE",
    "checking": "training status{here} --watch",
    "loading": "training status{here} --watch",
    "training": "training status{here} --watch, training plot{here}, training pause{here}",
    "stopping": "training status{here} --watch; training resume{here} continues instead of stopping",
    "paused": "training resume{here}",
    "blocked": "training health check{here}",
}


def overview_lines(
    base: str, status: "Status", *, dropped: int, version: str | None = None, here: str = ""
) -> Iterator[str]:
    """Yield the five lines.

    Args:
        base: the folder; named where nothing shows that it is the one that is meant.
        here: what makes a command be about this folder.
        dropped: how many files in the inbox have not been accepted yet.
        version: the one that has the weights of the newest checkpoint.
    """
    fields = status.fields
    state = f", {printable(str(fields.get('status')))}" if status.is_running else ""
    paused = "; the next one starts paused" if status.starts_paused else ""
    yield f"daemon  {status.life_text()}{state}{paused}{_folder(base, status)}"
    yield f"file    {_file(status, version)}"
    yield f"queue   {_queue(fields.get('queue') or {}, dropped)}"
    yield _errors(status, here)
    yield f"next    {_next(status, here)}; training --help lists all commands"


def lines_without_directory(base: str, *, here: str = "") -> Iterator[str]:
    """Yield the five lines about a folder in which no daemon has ever run."""
    where = here or ", here or in another folder with --base-dir FOLDER"
    yield f"folder  {printable(base)} is not a working directory yet"
    yield f"start   training daemon start{where}"
    yield f"then    training queue add FILE{here}, or copy files into the inbox/ that it creates"
    yield f"see     training status --watch{here}"
    yield "help    training --help lists all commands"


def overview_document(
    base: str, status: "Status | None", *, dropped: int, version: str | None, here: str = ""
) -> dict[str, object]:
    """Return the same for programs.

    Args:
        status: None if the folder is not a working directory.
        version: the one that has the weights of the newest checkpoint.
    """
    return {
        "base_dir": printable(base),
        "status": status and status.document(),
        "in_inbox": dropped,
        "version": version,
        "next": _next(status, here) if status else f"training daemon start{here}",
    }


def _folder(base: str, status: "Status") -> str:
    if status.life != "never started":
        return ""
    where = "" if printable(base) in status.problem else f" in {printable(base)}"
    return f"{where}; TRAINING_BASE_DIR or --base-dir chooses another folder"


def _file(status: "Status", version: str | None) -> str:
    fields = status.fields
    name, total = fields.get("current_file"), fields.get("file_total_steps")
    if not name:
        if status.is_running and fields.get("status") == "training" and fields.get("status_reason"):
            return printable(
                str(fields["status_reason"])
            )  # which file is being forgotten, and how far that is
        started = (fields.get("queue") or {}).get("processing") or 0
        if started:
            return f"{started:,} in queue/processing/, to be continued"
        return "none is being trained" + (f"; the model is version {version}" if version else "")
    if not total:
        return printable(str(name))
    step = fields.get("file_step") or 0
    left = fields.get("eta_s") if is_stepping(status) else None
    eta = f", {duration_text(left)} left" if left is not None else ""
    # Before the first step since it was started or continued, it is that of another file
    is_own = fields.get("tokens_per_sec") is not None
    loss = f", loss {fields['loss']:.4f}" if is_own and fields.get("loss") is not None else ""
    doing = f", {words}" if (words := activity(status)) else ""
    return f"{printable(str(name))}: step {step:,} of {total:,}{loss}{eta}{doing}"


def _queue(queue: dict[str, Any], dropped: int) -> str:
    waiting = sum(queue.get(name, 0) for name in ("high", "normal", "low"))
    in_inbox = f"{dropped:,} in inbox/, " if dropped else ""
    return (
        f"{num_of(waiting, 'file')} waiting, {in_inbox}{queue.get('recently_completed', 0):,} completed, "
        f"{queue.get('failed', 0):,} failed, {queue.get('skipped', 0):,} skipped"
    )


def _errors(status: "Status", here: str) -> str:
    """Return the line about errors; without any, about warnings, or about files that failed before."""
    fields = status.fields
    warnings = set(map(str, fields.get("warnings") or []))
    messages = sorted(map(str, fields.get("alerts") or []), key=warnings.__contains__)  # errors first
    if error := fields.get("last_error"):
        newest = str(error.get("message"))  # which may be an alert, too
        about = f"{printable(str(error['file']), limit=LONGEST_NAME)}: " if error.get("file") else ""
        messages = [about + newest, *(message for message in messages if message != newest)]
    if status.is_running and fields.get("status") == "blocked":  # what matters now, whatever failed since
        reason = str(fields.get("status_reason"))
        messages = [reason, *(message for message in messages if message != reason)]
    if not messages:
        failed = (fields.get("queue") or {}).get("failed") or 0
        found = f"{num_of(failed, 'file')} failed (training queue list{here} --failed)" if failed else "none"
        return f"errors  {found}"
    name = "warning" if messages[0] in warnings else "errors "
    more = f"{len(messages) - 1:,} more; " if len(messages) > 1 else ""
    return f"{name} {printable(messages[0], limit=LONGEST)} ({more}training status{here})"


def _next(status: "Status", here: str) -> str:
    if not status.is_running:
        return (
            f"training daemon start{here}"
            if status.is_gone
            else f"training health check{here} says what is wrong"
        )
    if status.fields.get("status_reason") == Stopping.NOW:  # which nothing takes back
        return f"training status{here} --watch"
    if status.fields.get("status") == "idle" and (status.fields.get("queue") or {}).get("failed"):
        return f"training queue list{here} --failed says why files failed"
    return NEXT.get(str(status.fields.get("status")), "training status{here}").replace("{here}", here)
