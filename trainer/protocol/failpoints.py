"""Places where a test may pull the plug. In ordinary life each costs one comparison.

TRAINING_FAILPOINT=checkpoint.renamed       die there, the first time
TRAINING_FAILPOINT=checkpoint.renamed:3     die there, the third time
"""

import os
import signal

VARIABLE = "TRAINING_FAILPOINT"
_wanted, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Die here as by `kill -9`, if the environment asks for it.

    Names are literals: a test finds them in the source, so that a new one is tested without being listed.
    """
    global _left
    if name != _wanted:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
