"""Wake the daemon's loop from another thread or from a signal handler."""

import os


class Wake:
    """A pipe that a selector can wait for."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._reader

    def set(self) -> None:
        """Wake the loop. Safe in a signal handler."""
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def clear(self) -> None:
        """Note that the loop is awake."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            return
