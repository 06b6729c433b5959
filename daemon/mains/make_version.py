"""Make a version of a checkpoint in a process of its own: it reads more than a daemon or a monitor may hold.

    python -P -m daemon.mains.make_version <order.json >answer.json

It stands back for whatever trains. By policy, it hashes nothing: the manifest of the checkpoint has the
hashes.
"""

from contextlib import suppress
from pathlib import Path

from daemon.client import Client, ClientError
from daemon.mains.one_order import serve
from trainer.protocol.checkpoints import (
    FOLDER,
    DamagedCheckpoint,
    NoUsableCheckpoint,
    published,
    read_manifest,
)
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.new_version import NewVersion, NewVersionOrder
from trainer.protocol.one_shot import OrderRefused


def carry_out(order: NewVersionOrder) -> NewVersion:
    """Make the version; the one that is there already counts as well.

    Raises:
        OrderRefused: it cannot be made.
    """
    try:
        name = order.checkpoint or last_written_before(
            Layout(order.base_dir).models, order.written_before or ""
        )
        version, _ = Client(order.base_dir).models.create(name, note=order.note, made_by=order.policy)
    except (ClientError, NoUsableCheckpoint) as error:
        raise OrderRefused(str(error), FaultKind.REQUEST) from error
    except OSError as error:
        raise OrderRefused(str(error), FaultKind.ENVIRONMENT, error.errno) from error
    record = version.record
    return NewVersion(id=record.id, made_by=record.made_by, global_step=record.global_step)


def last_written_before(models: Path, at: str) -> str:
    """Return the name of the last checkpoint from before a time; of the oldest if there is none.

    Args:
        at: UTC, ISO 8601.
    Raises:
        FileNotFoundError: there is no checkpoint that can be read.
        NoUsableCheckpoint: another release wrote one.
    """
    name = None
    for path in published(models / FOLDER):
        with suppress(DamagedCheckpoint):  # quarantined at the next start of a worker
            written_at = read_manifest(path).written_at
            name = path.name
            if written_at < at:
                break
    if name is None:
        raise FileNotFoundError(f"{models / FOLDER} has no checkpoint that can be read")
    return name


if __name__ == "__main__":
    serve(NewVersionOrder, carry_out)
