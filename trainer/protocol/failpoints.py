"""Places where a test may pull the plug. In ordinary life each costs one comparison.

TRAINING_FAILPOINT=checkpoint.renamed       die there, the first time
TRAINING_FAILPOINT=checkpoint.renamed:3     die there, the third time
"""

import os
import signal

VARIABLE = "TRAINING_FAILPOINT"


class _Armed:
    """The place to die at, if any, and how many visits it survives."""

    name = ""
    visits_left = 0


def arm(text: str) -> None:
    """Choose the place, as the variable does; an empty text chooses none."""
    _Armed.name, _, count = text.partition(":")
    _Armed.visits_left = int(count or 1)


def failpoint(name: str) -> None:
    """Die here as by `kill -9`, if the environment asks for it.

    Names are literals: a test finds them in the source, so that a new one is tested without being listed.
    """
    if name != _Armed.name:
        return
    _Armed.visits_left -= 1
    if _Armed.visits_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))
