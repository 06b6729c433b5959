"""What comes of something that a thread does for the loop, which waits for a result and for nothing else."""

import logging
from collections.abc import Callable
from typing import TypeVar

from trainer.protocol.one_shot import NoAnswer, OrderRefused

Result = TypeVar("Result")

logger = logging.getLogger("daemon")


def outcome_of(act: Callable[[], Result], *, failure: str) -> Result | Exception:
    """Return what an act returns, or why it failed; without either, the loop would wait for ever.

    Args:
        failure: what to say in the log, with the traceback, of a fault that nobody thought of.
    """
    try:
        return act()
    except (OSError, OrderRefused, NoAnswer) as error:
        return error
    except Exception as error:
        logger.exception(failure)
        return error
