"""Prove over a fresh connection that both ends know the same secret, which itself is never sent.

Three messages of fixed length. The end that accepted the connection sends a nonce; the end that connected
sends one of its own, and its proof; the first sends its proof. This says who is there when the connection is
made; it does not hide or protect what is said afterwards. Use a trusted network or a tunnel.
"""

import hmac
import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path

SECRET_VARIABLE = "TRAINING_CHANNEL_SECRET"
MIN_SECRET_BYTES = 16
GREETING = b"training channel 1\n"  # whoever waits for something else, another release say, is told at once
NONCE_BYTES = 32
PROOF_BYTES = 32  # SHA-256
CLOSED_TOO_EARLY = "the other end closed the connection before it had proved who it is"


class NotAuthenticated(ConnectionError):
    """The other end of a connection does not know the secret."""


class UnusableSecret(ValueError):
    """There is no secret, or one that others may know."""


class Challenge:
    """Has the other end of a connection that was accepted prove itself, without ever waiting for it.

    Raises:
        OSError: it is gone.
    """

    def __init__(self, connection: socket.socket, secret: bytes) -> None:
        self._connection = connection
        self._secret = secret
        self._own_nonce = secrets.token_bytes(NONCE_BYTES)
        self._heard = b""
        connection.setblocking(False)
        connection.sendall(GREETING + self._own_nonce)  # a fresh connection has room for it

    def is_met(self) -> bool:
        """Take in what has arrived; return whether the other end has proved itself. Then so has this one.

        Raises:
            NotAuthenticated: it does not know the secret.
            OSError: it is gone.
        """
        with suppress(BlockingIOError):
            chunk = self._connection.recv(NONCE_BYTES + PROOF_BYTES - len(self._heard))
            if not chunk:
                raise ConnectionResetError(CLOSED_TOO_EARLY)
            self._heard += chunk
        if len(self._heard) < NONCE_BYTES + PROOF_BYTES:
            return False
        other_nonce, proof = self._heard[:NONCE_BYTES], self._heard[NONCE_BYTES:]
        if not hmac.compare_digest(proof, _proof(self._secret, b"connects", self._own_nonce, other_nonce)):
            raise NotAuthenticated("the process that connected does not know the secret")
        self._connection.sendall(_proof(self._secret, b"accepts", self._own_nonce, other_nonce))
        return True


def answer(connection: socket.socket, secret: bytes, *, timeout_s: float) -> None:
    """Prove this end of a connection that it made, then have the other end prove itself.

    Raises:
        NotAuthenticated: it does not know the secret, or speaks another language.
        OSError: it is gone (it goes when this end does not know the secret), or not done after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    own_nonce = secrets.token_bytes(NONCE_BYTES)
    connection.settimeout(timeout_s)
    greeting = _read(connection, len(GREETING), deadline)
    if greeting != GREETING:
        raise NotAuthenticated(f"the other end greets with {greeting!r}; expected {GREETING!r}")
    other_nonce = _read(connection, NONCE_BYTES, deadline)
    connection.sendall(own_nonce + _proof(secret, b"connects", other_nonce, own_nonce))
    proof = _read(connection, PROOF_BYTES, deadline)
    if not hmac.compare_digest(proof, _proof(secret, b"accepts", other_nonce, own_nonce)):
        raise NotAuthenticated("the process at the other end does not know the secret")


def take_secret(file: Path | None) -> bytes:
    """Return the secret from a file, else from the environment, where nothing started later finds it again.

    Never from the command line, which every user of a machine can read.

    Raises:
        UnusableSecret: there is none, it is short, or the file is open to others.
        OSError: the file cannot be read.
    """
    if file:
        if (mode := file.stat().st_mode & 0o777) & 0o077:
            raise UnusableSecret(
                f"{file}: its mode is {mode:o}; expected one for its owner only; chmod 600 {file}"
            )
        place, secret = str(file), file.read_bytes().strip()
    else:
        place, secret = SECRET_VARIABLE, os.environb.pop(SECRET_VARIABLE.encode(), b"")
    if len(secret) < MIN_SECRET_BYTES:
        raise UnusableSecret(
            f"{place}: a secret of {len(secret)} bytes; expected at least {MIN_SECRET_BYTES}"
        )
    return secret


def _proof(secret: bytes, role: bytes, accepting_nonce: bytes, connecting_nonce: bytes) -> bytes:
    """Return what only one who knows the secret can send, in this role and over this connection."""
    return hmac.digest(secret, GREETING + role + accepting_nonce + connecting_nonce, "sha256")


def _read(connection: socket.socket, number: int, deadline: float) -> bytes:
    data = b""
    while len(data) < number:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the other end did not prove in time who it is")
        connection.settimeout(left_s)
        chunk = connection.recv(number - len(data))
        if not chunk:
            raise ConnectionResetError(CLOSED_TOO_EARLY)
        data += chunk
    return data
