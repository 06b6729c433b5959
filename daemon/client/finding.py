"""Find the file in the queue that a person means, or say what to do instead if it is elsewhere."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path

from daemon.client.errors import AmbiguousName, NoSuchFile, UnreadableHistory, WrongPlace, raising
from daemon.client.trash import trash_folders
from daemon.files.notes import is_users_file
from daemon.intake.ignored import why_not_accepted
from daemon.jobs.listing import find_named, is_started, queued_files
from daemon.ledger.reader import UnreadableLedger
from daemon.status.reader import read_status
from trainer.protocol.layout import Layout
from trainer.protocol.places import Outcome, Priority
from trainer.protocol.text import printable, shell_word

NAMES_COMPARED, NAMES_OFFERED = 1_000, 2  # to one that is unknown
LIKENESS = 0.8  # of names, from 0 to 1
TO_SKIP = "to skip it: training_controller skip"


def the_file(
    layout: Layout, name: str, folders: Sequence[Path] | None = None, *, in_training: str = TO_SKIP
) -> Path:
    """Return the one file that is meant by `name`.

    Args:
        folders: of the queue, where it is expected; None for all.
        in_training: what to do if it is being trained and expected elsewhere.
    Raises:
        NoSuchFile: there is none.
        AmbiguousName: there are several.
        WrongPlace: it is in another folder of the queue.
    """
    found = find_named(everywhere(layout) if folders is None else folders, name)
    if len(found) == 1:
        return found[0]
    if found:
        places = " or ".join(map(place_of, found))
        raise AmbiguousName(
            f"{printable(name)} is ambiguous: {places}; say which, such as {place_of(found[0])}"
        )
    inbox = [layout.inbox, *(layout.inbox / priority for priority in Priority)]
    if dropped := find_named(inbox, name.removeprefix("inbox/")):
        raise WrongPlace(_what_to_do_in_inbox(layout, dropped[0]))
    if elsewhere := find_named(everywhere(layout), name):
        raise WrongPlace(_what_to_do(layout, elsewhere[0], in_training))
    ours = [folder for folder in folders or () if folder.parent == layout.queue]
    places = ", ".join(f"queue/{folder.name}/" for folder in ours) or "queue/"
    ended = [layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]
    lists = "list shows"
    if folders is None:
        lists = "list and history show"
    elif ours and set(ours) <= set(ended):
        lists = "list --failed, list --skipped and list --trash show"
        places += " or the trash"
    raise NoSuchFile(
        f"no file is named {printable(name)} in {places}; training_queue {lists} them"
        f"{like_it(folders or everywhere(layout), name)}"
    )


def like_it(folders: Sequence[Path], name: str) -> str:
    """Return the end of a message about an unknown name: which files there have one like it, if any."""
    listed = chain.from_iterable(os.scandir(folder) for folder in folders if folder.is_dir())
    names = [entry.name for entry in islice(listed, NAMES_COMPARED) if is_users_file(entry.name)]
    wanted = name.rpartition("/")[2]
    near = [other for other in names if other.startswith(f"{wanted}.")] if wanted else []
    near += get_close_matches(wanted, names, n=NAMES_OFFERED, cutoff=LIKENESS)
    offered = list(dict.fromkeys(map(printable, near)))[:NAMES_OFFERED]
    return f"; did you mean {' or '.join(offered)}?" if offered else ""


def why_never_seen(layout: Layout, name: str) -> str | None:
    """Return what to say of a file that was never accepted; None if no such file lies here.

    Args:
        name: of a file that the ledger does not know.
    """
    waiting = [layout.waiting(priority) for priority in Priority]
    ended = [layout.finished(outcome) for outcome in (Outcome.FAILED, Outcome.SKIPPED)]
    found = find_named([*ended, *waiting, *trash_folders(layout)], name)
    if not found:
        inbox = find_named([layout.inbox, *(layout.inbox / priority for priority in Priority)], name)
        return f"the model has never seen it: {_what_to_do_in_inbox(layout, inbox[0])}" if inbox else None
    path = found[0]
    place = printable(str(path.relative_to(layout.base)))
    if path.parent in waiting:
        return (
            f"the model has never seen {place}, which has not been accepted yet; to take it out of the "
            f"queue: training_queue remove {_word(path)}"
        )
    never = f"the model has never seen {place}"
    if path.parent not in ended:
        return f"{never}, which was cleared away without being accepted; to erase it, delete it and its notes"
    how = "refused" if path.parent == ended[0] else "skipped"
    return (
        f"{never}, which was {how} before it was accepted (training_queue show {_word(path)} says why); to "
        f"erase it, delete it and its notes; training_queue clear --{path.parent.name} only moves it away, "
        "to queue/.trash/"
    )


def everywhere(layout: Layout) -> list[Path]:
    """Return all folders of the queue in which files lie, and those of the trash."""
    return [*in_queue(layout), *trash_folders(layout)]


def in_queue(layout: Layout) -> list[Path]:
    """Return all folders of the queue in which files lie, without the trash."""
    return [
        layout.processing,
        *map(layout.waiting, Priority),
        *map(layout.finished, (Outcome.FAILED, Outcome.SKIPPED, Outcome.COMPLETED)),
    ]


def place_of(path: Path) -> str:
    """Return a file's folder and name, as a person would give them."""
    return printable(f"{path.parent.name}/{path.name}")


def _word(path: Path) -> str:
    """Return a file's folder and name, as they are typed in a shell."""
    return shell_word(f"{path.parent.name}/{path.name}")


def _what_to_do_in_inbox(layout: Layout, path: Path) -> str:
    place = printable(str(path.relative_to(layout.base)))
    if why := why_not_accepted(path, layout.base):
        start = "" if why.startswith(place) else f"{place}: "
        return f"{start}{why}; to be rid of it, move it out of inbox/"
    if read_status(layout).is_running:
        return f"{place} has not been accepted yet; training_queue list shows when it has"
    return (
        f"{place} has not been accepted yet, because no daemon runs; until then, move it yourself: out of "
        "inbox/, or to inbox/high/ or inbox/low/ for another priority"
    )


def _what_to_do(layout: Layout, path: Path, in_training: str) -> str:
    """Say why a request cannot be carried out on the file in this place, and what can be."""
    place = place_of(path)
    if path.parent == layout.processing:
        with raising(UnreadableHistory, UnreadableLedger):
            return _what_to_do_while_processed(layout, path, in_training)
    if path.parent == layout.finished(Outcome.COMPLETED):
        return (
            f"{place} has been trained; to train it again, add a copy: "
            f"training_queue add {shell_word(str(path))}"
        )
    if path.parent in (layout.finished(Outcome.FAILED), layout.finished(Outcome.SKIPPED)):
        again, away = (f"training_queue {command} {_word(path)}" for command in ("retry", "clear"))
        return f"{place} does not wait; to queue it again: {again}; to clear it away: {away}"
    if path.parent.parent == layout.trash:
        return f"{place} has been cleared away; to queue it again: training_queue retry {_word(path)}"
    return f"{place} is already waiting; nothing was changed"


def _what_to_do_while_processed(layout: Layout, path: Path, advice: str) -> str:
    shown = printable(path.name)
    if not read_status(layout).is_running:
        return f"{shown} was started, and continues once a daemon runs; start one with: training_daemon start"
    started = [file for file in queued_files(layout) if is_started(file)]
    if any(file.name == shown and file.state == "saving" for file in started):
        return f"{shown} is fully trained and waits for its checkpoint; please wait"
    in_training = next((file.name for file in started if file.state == "processing"), None)
    if shown == in_training:
        return f"{shown} is being trained; {advice}"
    return f"{shown} has been started, and continues after {in_training}; wait for its turn"
