"""Compare two states of the model. A process of its own, because it loads torch; it changes nothing.

    python -P -m trainer.mains.compare <order.json >answer.json

It stands back for others, as a worker may be training beside it.
"""

from trainer.mains.one_shot import Tell, serve
from trainer.protocol.comparison import Compared, CompareOrder

NICENESS = 15


def carry_out(order: CompareOrder, tell: Tell) -> Compared:
    """Return how the two differ."""
    from trainer.session.model_comparison import compare  # after this process has stood back

    return compare(order, tell)


if __name__ == "__main__":
    serve(CompareOrder, carry_out, niceness=NICENESS)
