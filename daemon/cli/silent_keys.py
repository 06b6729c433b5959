"""Keep the keys that are pressed from showing on the terminal, where something is drawn in place."""

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_keys() -> Iterator[None]:
    """Show no key that is pressed as long as the block lasts. Ctrl-C works as ever."""
    terminal = sys.stdin.fileno() if sys.stdin.isatty() else None
    if terminal is None or not _is_ours(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] &= ~termios.ECHO  # its local modes
    termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        if _is_ours(terminal):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # what was typed was not for the shell


def _is_ours(terminal: int) -> bool:
    """Whether this process has the terminal; one in the background is stopped if it changes it."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
