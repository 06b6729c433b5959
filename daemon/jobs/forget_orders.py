"""Order that a file be forgotten: what the process that does it is given, and its answer in words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.jobs.forgetting import CannotForget, Forgetting, UnknownContent, found_content
from daemon.jobs.wishes import ForgetWish, is_published
from daemon.ledger.forgetting import reading_to_forget
from daemon.ledger.reader import UnreadableLedger
from daemon.ledger.trained_files import NOT_FOLLOWED, unfollowed_branches
from trainer.protocol.checkpoints import POINTER, DamagedCheckpoint, NoUsableCheckpoint, read_manifest
from trainer.protocol.forgetting import ORDER_FILE, SCRATCH, Forgot, write_order
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Manifest
from trainer.protocol.text import num_of


def order_to_forget(layout: Layout, wish: ForgetWish, settings: Mapping[str, Any]) -> None:
    """Write the order for the process that does it.

    Raises:
        CannotForget: it cannot be done.
        UnreadableLedger: the ledger cannot be read.
        OSError: it cannot be written.
    """
    with forgetting_of(layout, wish) as forgetting:
        header = forgetting.header(settings=settings, reason=wish.reason)
        write_order(layout.models / SCRATCH / ORDER_FILE, header, forgetting.items())


def may_train(layout: Layout, wish: ForgetWish) -> bool:
    """Whether the model has to be trained again; False where it is refused anyway."""
    try:
        with forgetting_of(layout, wish) as forgetting:
            return forgetting.may_train
    except (CannotForget, UnreadableLedger):
        return False


@contextmanager
def forgetting_of(layout: Layout, wish: ForgetWish) -> Iterator[Forgetting]:
    """Find out what forgetting a file means, as long as the block lasts.

    Raises:
        CannotForget: no content is meant, or several are.
        UnreadableLedger: the ledger cannot be read.
    """
    if not layout.ledger_file.exists():
        raise UnknownContent("no file was ever accepted here, so there is nothing to forget")
    newest = newest_of(layout.models)
    if newest and not is_published(layout.models) and unfollowed_branches(layout.ledger_file, newest[1]):
        raise CannotForget(NOT_FOLLOWED)  # what the model was trained on is not what the ledger shows
    with reading_to_forget(layout.ledger_file) as ledger:
        content = found_content(ledger, wish.name)
        yield Forgetting(layout, ledger, content, newest, keep_versions=wish.keep_versions)


def newest_of(models: Path) -> tuple[str, Manifest] | None:
    """Return the checkpoint that the model has; None if there is none.

    Raises:
        CannotForget: it cannot be read.
    """
    try:
        path = (models / POINTER).resolve(strict=True)
    except OSError:
        return None
    try:
        return path.name, read_manifest(path)
    except (DamagedCheckpoint, NoUsableCheckpoint) as error:
        raise CannotForget(f"{path.name}: {error}") from error


def text_of(result: Forgot) -> str:
    """Return what was done in words."""
    if result.branch is None:
        done = "the model was not trained on the file"
    elif result.trained_steps:
        done = f"{result.branch.text} ({num_of(result.trained_steps, 'step')})"
    else:
        done = f"the model went back to step {result.branch.from_step}, from before the file"
    if result.unjudged:
        done += f"; without a verdict of the gate: {', '.join(result.unjudged)}"
    erased = "; the file is erased"
    if result.removed_backups:
        erased += f"; {num_of(len(result.removed_backups), 'backup')} that had seen it removed"
    if result.cleaned_backups:
        erased += f"; it was taken out of {num_of(len(result.cleaned_backups), 'backup')}"
    left = "; not erased: " + "; ".join(result.unreached) if result.unreached else ""
    return f"{done}{erased}{left}"
