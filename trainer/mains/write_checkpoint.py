"""Write and publish one checkpoint. A process of its own, so that training waits for a copy to memory only.

    python -P -m trainer.mains.write_checkpoint <order.json >answer.json

It loads no torch, starts in a fraction of a second, and dies with the worker that ordered it.
"""

from trainer.checkpoints.background import WriteOrder, write_checkpoint
from trainer.mains.one_shot import serve

if __name__ == "__main__":
    serve(WriteOrder, lambda order, tell: write_checkpoint(order))
