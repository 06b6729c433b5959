"""The other end of a service manager's socket, as systemd has it."""

import socket


class ServiceSocket:
    """Bound to `address`; an `@` in front means an abstract one."""

    def __init__(self, address):
        self.environment = {"NOTIFY_SOCKET": address}
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._receiver.bind(address.replace("@", "\0", 1))
        self._receiver.setblocking(False)

    def heard(self):
        """Return the messages since the last call."""
        messages = []
        try:
            while True:
                messages.append(self._receiver.recv(4096).decode())
        except BlockingIOError:
            return messages

    def close(self):
        self._receiver.close()
