"""Merge the adapter into its base model, while no worker runs. A process of its own, because it loads torch.

    python -P -m trainer.mains.consolidate <order.json >answer.json

It holds the lock of the models folder, for which it waits until a worker has saved.
"""

import time
import warnings

from trainer.mains.one_shot import Tell, models_locked, serve
from trainer.protocol.checkpoints import DamagedCheckpoint, NoUsableCheckpoint
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import OrderRefused
from trainer.versions.consolidation import Consolidated, ConsolidateOrder


def carry_out(order: ConsolidateOrder, tell: Tell) -> Consolidated:
    """Publish a new base model, and a checkpoint that continues beside it."""
    from trainer.session.consolidation import OtherCheckpoint, consolidate

    warnings.simplefilter("ignore")  # of libraries, which would be taken for how far it is
    layout = Layout(order.base_dir)
    try:
        with models_locked(layout):
            return consolidate(order, tell=tell, clock=time.time)
    except (DamagedCheckpoint, NoUsableCheckpoint, OtherCheckpoint) as error:
        raise OrderRefused(str(error), FaultKind.REQUEST) from error


if __name__ == "__main__":
    serve(ConsolidateOrder, carry_out)
