"""Let the model go back to an earlier checkpoint. A process of its own, because only such write checkpoints.

    python -P -m trainer.mains.go_back <order.json >answer.json

It loads no torch, and waits for the lock of the models folder, which a worker holds until it has saved.
"""

import time

from trainer.checkpoints.going_back import NotBehind, go_back
from trainer.mains.one_shot import Tell, models_locked, serve
from trainer.protocol.checkpoints import DamagedCheckpoint, NoUsableCheckpoint
from trainer.protocol.going_back import GoBackOrder, WentBack
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import OrderRefused


def carry_out(order: GoBackOrder, tell: Tell) -> WentBack:
    """Publish the target as the newest checkpoint."""
    layout = Layout(order.base_dir)
    try:
        with models_locked(layout):
            checkpoint = go_back(layout.models, order, clock=time.time)
    except (DamagedCheckpoint, NoUsableCheckpoint, NotBehind) as error:
        raise OrderRefused(f"{order.target.name}: {error}", FaultKind.REQUEST) from error
    return WentBack(checkpoint=checkpoint.path.name, branch=checkpoint.manifest.branches[-1])


if __name__ == "__main__":
    serve(GoBackOrder, carry_out)
