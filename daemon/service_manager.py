"""Report the daemon's state to a service manager such as systemd; does nothing without one.

The messages are those of sd_notify(3).
"""

import os
import socket
from collections.abc import Callable, Mapping

from daemon.journal.events import ServiceManagerFound, ServiceManagerLost
from daemon.journal.journal import Journal


class ServiceManager:
    """The one that has started this process, if it wants to hear of it.

    Args:
        environment: the process's variables.
        journal: where it is recorded that it hears nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self, environment: Mapping[str, str], journal: Journal, *, clock: Callable[[], float]
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._interval_s = _watchdog_interval_s(environment) if self._address else float("inf")
        self._clock = clock
        self._reported_alive_at = clock()
        self._journal = journal
        self._status = ""
        self._is_lost = False

    def ready(self) -> None:
        """Say that the start is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what is being done, if that is news."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Say that the loop still turns, when it is due."""
        if self._clock() >= self.due_at():
            self._reported_alive_at = self._clock()
            self._send("WATCHDOG=1")

    def due_at(self) -> float:
        """Return when `alive` is to be called next, in monotonic seconds."""
        return self._reported_alive_at + self._interval_s

    def stopping(self) -> None:
        """Say that the end has started."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # one that does not listen must not stop the training
                sender.sendto(message.encode("utf-8", "replace"), address)
        except OSError as error:
            if not self._is_lost:
                self._journal.record(ServiceManagerLost(word=message, problem=str(error)))
            self._is_lost = True
        else:
            if self._is_lost:
                self._journal.record(ServiceManagerFound())
            self._is_lost = False


def _watchdog_interval_s(environment: Mapping[str, str]) -> float:
    """Return half the time after which a silent daemon is killed; infinite if it is not watched."""
    is_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    limit_us = environment.get("WATCHDOG_USEC", "")
    return int(limit_us) / 2e6 if is_for_us and limit_us.isdigit() and int(limit_us) else float("inf")
