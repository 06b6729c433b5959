"""Have the model forget a file. A process of its own: it trains for as long as it takes, and can be killed.

    python -P -m trainer.mains.forget <order.json >answer.json

It waits for the lock of the models folder, which a worker holds until it has saved. SIGTERM has it save at
the next step and end; asked again, it continues there.
"""

import json
import signal
import time
from typing import TYPE_CHECKING

from trainer.checkpoints.publishing import point_to
from trainer.disk.open_files import ignore_lease_breaks
from trainer.mains.one_shot import Tell, models_locked, serve
from trainer.protocol.checkpoints import (
    FOLDER,
    Checkpoint,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    find_newest,
)
from trainer.protocol.faults import NotFinite
from trainer.protocol.forgetting import (
    ORDER_FILE,
    SCRATCH,
    ForgetOrder,
    Forgot,
    OrderHeader,
    UnreadableOrder,
    read_header,
    read_items,
)
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.manifest import Branch
from trainer.protocol.one_shot import OrderRefused
from trainer.protocol.text import utc_text

if TYPE_CHECKING:
    from trainer.forgetting.scratch import Scratch


class _Asked:
    """What signals have said."""

    to_end = False


def carry_out(order: ForgetOrder, tell: Tell) -> Forgot:
    """Train again without the file, publish, and erase what is left of it."""
    layout = Layout(order.base_dir)
    signal.signal(signal.SIGTERM, _note_signal)
    try:
        with models_locked(layout):
            return _forget(layout, order.backup_to, tell)
    except (DamagedCheckpoint, NoUsableCheckpoint, UnreadableOrder, FileNotFoundError) as error:
        raise OrderRefused(str(error), FaultKind.REQUEST) from error


def _note_signal(*_: object) -> None:
    _Asked.to_end = True


def is_to_end() -> bool:
    """Whether somebody wants this process to save and end."""
    return _Asked.to_end


def _forget(layout: Layout, backup_to: str | None, tell: Tell) -> Forgot:
    from trainer.forgetting.backups import forget_in_backups
    from trainer.forgetting.erasing import erase
    from trainer.forgetting.recording import write_erased_unseen
    from trainer.forgetting.scratch import Scratch

    header = read_header(layout.models / SCRATCH / ORDER_FILE)
    scratch = Scratch(layout.models)
    newest = find_newest(layout.models / FOLDER).newest
    if newest:
        point_to(layout.models, newest.path)  # a kill may have come before that
    branch = published_branch(newest, scratch)
    if branch is None and header.is_trained:
        newest = _train(layout, newest, scratch, header, tell)
        branch = newest.manifest.branches[-1]
    tell("erasing what is left of the file")
    unreached = erase(layout, header.sha256, header.erased)
    backups, out_of_reach = forget_in_backups(layout.base, backup_to, header.sha256, tell=tell)
    if branch is None:
        write_erased_unseen(layout.models, header)
    scratch.remove()
    return Forgot(
        branch=branch,
        trained_steps=newest.manifest.progress.global_step - branch.from_step if newest and branch else 0,
        unjudged=header.unjudged,
        removed_backups=backups.removed if backups else (),
        cleaned_backups=backups.cleaned if backups else (),
        unreached=(*unreached, *out_of_reach),
    )


def published_branch(newest: Checkpoint | None, scratch: "Scratch") -> Branch | None:
    """Return the branch that an earlier try has published before it died; None if it has not come so far."""
    try:
        branch = Branch.model_validate(json.loads(scratch.branch_file.read_bytes()))
    except (OSError, ValueError):
        return None
    return branch if newest and branch in newest.manifest.branches else None


def _train(
    layout: Layout, newest: Checkpoint | None, scratch: "Scratch", header: OrderHeader, tell: Tell
) -> Checkpoint:
    from trainer.forgetting.retraining import History
    from trainer.forgetting.training import CutShort, NotTheSame, as_trained_here, publish, train_again

    if newest is None or newest.path.name != header.newest:
        found = newest.path.name if newest else "gone"
        raise OrderRefused(
            f"the newest checkpoint is {found}; expected {header.newest}, as it was planned; ask again",
            FaultKind.REQUEST,
        )
    items = read_items(scratch.order_file)
    history = History(as_trained_here(item, header.settings) for item in items)
    scratch.prepare(header, history)
    if not scratch.is_trained(history):
        try:
            train_again(scratch, layout.base, header, history, tell=tell, is_cut_short=lambda: is_to_end())
        except CutShort as error:
            raise OrderRefused(
                "asked to stop; what was trained is kept, and continued when you ask again",
                FaultKind.REQUEST,
            ) from error
        except NotTheSame as error:
            raise OrderRefused(str(error), FaultKind.BAD_DATA) from error
        except NotFinite as error:
            raise OrderRefused(f"without the file, {error}", FaultKind.NAN) from error
    tell("everything is trained again")
    return publish(layout.models, scratch, header, history, at=utc_text(time.time()))


if __name__ == "__main__":
    ignore_lease_breaks()
    serve(ForgetOrder, carry_out)
