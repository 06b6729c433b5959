"""Messages over one connected stream socket, a JSON object per line: a socket pair, or TCP between machines.

Either end learns when the other is gone: at once when it has ended, and over TCP within a minute when its
machine has vanished.
"""

import json
import select
import socket
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from trainer.protocol.tcp import notice_lost_peer

Received = TypeVar("Received")
CHUNK_BYTES = 1 << 16


class ChannelClosed(ConnectionError):
    """The other process is gone, or out of reach."""


class NotRead(ChannelClosed):
    """The other process is there and reads nothing. Half a message may be on its way, so none can follow."""


class Channel(Generic[Received]):
    """One end of the connection between two processes, such as daemon and worker.

    Args:
        endpoint: a connected stream socket; the channel owns it from now on.
        incoming: turns a JSON object into the message types this end receives.
        send_timeout_s: how long it may take to send one message; None waits while the other end is there.
    """

    def __init__(
        self,
        endpoint: socket.socket,
        incoming: TypeAdapter[Received],
        *,
        send_timeout_s: float | None = None,
    ) -> None:
        endpoint.settimeout(send_timeout_s)
        if endpoint.family in (socket.AF_INET, socket.AF_INET6):
            notice_lost_peer(endpoint)
        self._socket = endpoint
        self._incoming = incoming
        self._unread = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, message: BaseModel) -> None:
        """Send one message.

        Raises:
            NotRead: the other end has not taken all of it within `send_timeout_s`.
            ChannelClosed: nobody is left to read it.
        """
        # Not pydantic's own JSON: file names may hold surrogates, which only an ASCII escape carries over
        line = json.dumps(message.model_dump(mode="json"), allow_nan=False)
        try:
            self._socket.sendall(line.encode("ascii") + b"\n")
        except OSError as error:
            # One without a number is Python's own; ETIMEDOUT is the system's, of a peer that has vanished
            is_own_timeout = isinstance(error, TimeoutError) and error.errno is None
            raise (NotRead if is_own_timeout else ChannelClosed)(str(error)) from error

    def receive(self, timeout_s: float | None) -> list[Received]:
        """Return the messages that have come, waiting up to `timeout_s` for the first (None: for ever).

        Raises:
            ChannelClosed: the other end is closed and everything it sent has been returned.
        """
        if not self.wait(timeout_s):
            return []
        try:
            chunk = self._socket.recv(CHUNK_BYTES)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not chunk:
            raise ChannelClosed("the other process closed the connection")
        self._unread += chunk
        *lines, rest = self._unread.split(b"\n")
        self._unread = bytearray(rest)
        return [self._incoming.validate_python(json.loads(line)) for line in lines]

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for something to read, or for the other end to close; return whether there is."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
