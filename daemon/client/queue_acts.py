"""Do the same to several files of the queue; each has a result of its own, because some may be refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from daemon.client.errors import ClientError
from trainer.protocol.places import Priority
from trainer.protocol.text import printable, system_words

if TYPE_CHECKING:
    from daemon.client.queue import Queue


class QueueAct(StrEnum):
    """What can be done to files of the queue."""

    PRIORITY = "priority"
    """Make a waiting file more or less urgent."""
    RETRY = "retry"
    """Put a file back that failed, was skipped or was cleared away."""
    ADMIT = "admit"
    """The same, and train it whatever its data report says."""
    REMOVE = "remove"
    """Take a waiting file out of the queue, to queue/skipped/."""
    CLEAR = "clear"
    """Move a file that failed or was skipped to the trash."""


@dataclass(frozen=True, kw_only=True)
class ActOnFile:
    """What became of one file."""

    file: str
    """As it was named."""
    is_done: bool
    message: str
    """What was done, or why it was not; printable."""


def act_on_each(
    queue: "Queue", act: QueueAct, names: Sequence[str], *, priority: Priority | None = None
) -> list[ActOnFile]:
    """Do something to files one after the other, whatever becomes of those before.

    Args:
        names: as lists show them, with their folders.
        priority: with which a file is to wait; None keeps that of a file that is put back.
    """
    if act is QueueAct.CLEAR:
        return _clear(queue, names)
    wanted = priority or Priority.NORMAL
    acts: dict[QueueAct, Callable[[str], str]] = {
        QueueAct.PRIORITY: lambda name: _waits(queue.set_priority(name, wanted), wanted),
        QueueAct.RETRY: lambda name: _waits(queue.retry(name, priority=priority), priority),
        QueueAct.ADMIT: lambda name: _admitted(queue.retry(name, must_admit=True, priority=priority)),
        QueueAct.REMOVE: lambda name: f"moved to queue/skipped/ as {queue.remove(name)}",
    }
    return [_done(name, acts[act]) for name in names]


def _clear(queue: "Queue", names: Sequence[str]) -> list[ActOnFile]:
    """Move files to the trash together, so that they come into one folder there."""
    refused = {name: why for name in names if (why := queue.why_not_cleared(name))}
    moved: set[str] = set()
    if wanted := [name for name in names if name not in refused]:
        try:
            for cleared in queue.clear_files(wanted).values():
                moved |= {place.rpartition("/")[2] for place in cleared.moved}
        except (ClientError, OSError) as error:
            refused |= dict.fromkeys(wanted, _words(error))
    return [
        ActOnFile(file=name, is_done=False, message=refused[name])
        if name in refused
        else _cleared(name, is_moved=printable(name).rpartition("/")[2] in moved)
        for name in names
    ]


def _cleared(name: str, *, is_moved: bool) -> ActOnFile:
    message = "moved to the trash" if is_moved else "it is still arriving; try again in some seconds"
    return ActOnFile(file=name, is_done=is_moved, message=message)


def _done(name: str, act: Callable[[str], str]) -> ActOnFile:
    try:
        return ActOnFile(file=name, is_done=True, message=act(name))
    except (ClientError, OSError) as error:
        return ActOnFile(file=name, is_done=False, message=_words(error))


def _words(error: Exception) -> str:
    return system_words(error) if isinstance(error, OSError) else str(error)


def _waits(name: str, priority: Priority | None) -> str:
    return f"{name} waits again" if priority is None else f"{name} waits with priority {priority.value}"


def _admitted(name: str) -> str:
    return f"{name} waits again, and is trained whatever its data report says"
