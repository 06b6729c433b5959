"""Connect processes on different machines, both of which know a secret."""

import selectors
import socket
import time
from dataclasses import dataclass

from trainer.protocol.handshake import Challenge, answer

HANDSHAKE_S = 5.0  # of one that connects
MAX_UNPROVEN = 64  # who have not proved yet who they are; one more, and the oldest is sent away
CONNECT_S = 20.0

# So long may the other machine be out of reach; then the connection counts as lost, which no FIN says
IDLE_S = 15
PROBE_INTERVAL_S = 5
PROBES = 6
UNREACHABLE_S = IDLE_S + PROBE_INTERVAL_S * PROBES


class BadAddress(ValueError):
    """A text is no HOST:PORT."""


@dataclass(frozen=True)
class _Unproven:
    challenge: Challenge
    deadline: float  # monotonic seconds


class Listener:
    """Waits for connections of processes that know the secret. Whoever says nothing holds up nobody else.

    Args:
        host: whose interface to listen on; IPv6 addresses without brackets.
        port: 0 takes a free one.
    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, host: str, secret: bytes, *, port: int = 0) -> None:
        self._host = host
        self._secret = secret
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self._socket.setblocking(False)
        self._unproven: dict[socket.socket, _Unproven] = {}  # the oldest first

    @property
    def address(self) -> str:
        """HOST:PORT, as `connect` takes it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._socket.getsockname()[1]}"

    def accept(self, timeout_s: float) -> socket.socket:
        """Return the first connection of a process that knows the secret; strangers are sent away.

        Those who are not done with proving who they are may be so at the next call.

        Raises:
            TimeoutError: none has come within `timeout_s`.
            OSError: nothing can be accepted: the listener is closed (EBADF), or this process or the machine
                has no file or memory left for a connection (EMFILE, ENFILE, ENOBUFS, ENOMEM).
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._let_in()
            for connection in self._wait(left_s):
                if self._has_proved_itself(connection):
                    return connection
            self._send_away_overdue()
        raise TimeoutError(f"no process that knows the secret has connected within {timeout_s:.0f} s")

    def close(self) -> None:
        """Listen no longer. Connections that were accepted stay."""
        self._socket.close()
        for connection in list(self._unproven):
            self._send_away(connection)

    def _wait(self, timeout_s: float) -> list[socket.socket]:
        """Wait until somebody comes or says something; return the strangers of whom there is news."""
        due = [unproven.deadline - time.monotonic() for unproven in self._unproven.values()]
        with selectors.DefaultSelector() as selector:
            for waiting in [self._socket, *self._unproven]:
                selector.register(waiting, selectors.EVENT_READ, data=waiting)
            ready = [key.data for key, _ in selector.select(max(0.0, min([timeout_s, *due])))]
        return [waiting for waiting in ready if waiting is not self._socket]

    def _let_in(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return  # nobody is there, or no longer
        if len(self._unproven) >= MAX_UNPROVEN:
            self._send_away(next(iter(self._unproven)))
        try:
            challenge = Challenge(connection, self._secret)
        except OSError:
            connection.close()
        else:
            self._unproven[connection] = _Unproven(challenge, time.monotonic() + HANDSHAKE_S)

    def _has_proved_itself(self, connection: socket.socket) -> bool:
        try:
            if not self._unproven[connection].challenge.is_met():
                return False
        except OSError:
            self._send_away(connection)
            return False
        del self._unproven[connection]
        connection.settimeout(None)
        return True

    def _send_away_overdue(self) -> None:
        now = time.monotonic()
        for connection, unproven in list(self._unproven.items()):
            if unproven.deadline <= now:
                self._send_away(connection)

    def _send_away(self, connection: socket.socket) -> None:
        del self._unproven[connection]
        connection.close()


def connect(address: str, secret: bytes, *, timeout_s: float = CONNECT_S) -> socket.socket:
    """Connect to a listener that knows the secret.

    Args:
        address: HOST:PORT; an IPv6 address in brackets.
    Raises:
        BadAddress: it is something else.
        OSError: nobody answers there, or is not done with proving who it is, within `timeout_s` in all; or
            (`NotAuthenticated`) one without the secret.
    """
    deadline = time.monotonic() + timeout_s
    connection = socket.create_connection(_parse(address), timeout_s)
    try:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"{address} took all of {timeout_s:g} s to be reached")
        answer(connection, secret, timeout_s=left_s)
    except BaseException:
        connection.close()
        raise
    connection.settimeout(None)
    return connection


def notice_lost_peer(connection: socket.socket) -> None:
    """Have the system end a connection whose other machine has vanished without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE_S),
        (socket.TCP_KEEPINTVL, PROBE_INTERVAL_S),
        (socket.TCP_KEEPCNT, PROBES),
        (socket.TCP_USER_TIMEOUT, UNREACHABLE_S * 1000),  # while sent data waits, there are no probes
        (socket.TCP_NODELAY, 1),  # messages are small, and somebody waits for each
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not host or is_bare_ipv6 or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise BadAddress(f'the address is "{address}"; expected HOST:PORT, an IPv6 address in brackets')
    return host.removeprefix("[").removesuffix("]"), int(port)
