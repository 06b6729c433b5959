"""Both ends of a connection prove that they know a secret, and a stranger learns and holds up nothing."""

import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from trainer.protocol.handshake import (
    GREETING,
    NONCE_BYTES,
    PROOF_BYTES,
    SECRET_VARIABLE,
    Challenge,
    NotAuthenticated,
    UnusableSecret,
    answer,
    take_secret,
)

SECRET = b"a secret of some length"
OTHER_SECRET = b"a secret that is another"
PATIENCE_S = 10.0
SHORT_S = 0.05

Run = Callable[..., Future[None]]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The accepting end and the connecting one."""
    accepting, connecting = socket.socketpair()
    connecting.settimeout(PATIENCE_S)
    yield accepting, connecting
    accepting.close()
    connecting.close()


@pytest.fixture
def run() -> Iterator[Run]:
    """Run one end's part while the test is the other end."""
    with ThreadPoolExecutor() as pool:

        def run(part: Callable[..., None], end: socket.socket, secret: bytes = SECRET) -> Future[None]:
            return pool.submit(part, end, secret, timeout_s=PATIENCE_S)

        yield run


def challenge(end: socket.socket, secret: bytes, *, timeout_s: float) -> None:
    """Do what a listener does with one that has connected."""
    posed = Challenge(end, secret)
    while not posed.is_met():
        if not select.select([end], [], [], timeout_s)[0]:
            raise TimeoutError
    end.setblocking(True)


def read(end: socket.socket, number: int) -> bytes:
    return end.recv(number, socket.MSG_WAITALL)


def test_ends_that_know_the_secret_believe_each_other_and_read_no_further(ends, run):
    accepting, connecting = ends

    challenged = run(challenge, accepting)
    answer(connecting, SECRET, timeout_s=PATIENCE_S)
    connecting.sendall(b"said afterwards")

    assert challenged.result(PATIENCE_S) is None
    assert read(accepting, 15) == b"said afterwards"


def test_one_that_connects_without_the_secret_is_found_out_before_it_is_shown_a_proof(ends, run):
    accepting, connecting = ends
    answered = run(answer, connecting, OTHER_SECRET)

    with pytest.raises(NotAuthenticated):
        challenge(accepting, SECRET, timeout_s=PATIENCE_S)
    accepting.close()

    assert isinstance(answered.exception(PATIENCE_S), ConnectionResetError)


def test_one_that_listens_without_the_secret_is_found_out(ends, run):
    accepting, connecting = ends
    answered = run(answer, connecting)

    accepting.sendall(GREETING + bytes(NONCE_BYTES))
    _, proof = read(accepting, NONCE_BYTES), read(accepting, PROOF_BYTES)
    accepting.sendall(proof)  # the only one it has ever seen

    assert isinstance(answered.exception(PATIENCE_S), NotAuthenticated)


def test_a_proof_that_was_overheard_is_worth_nothing_on_another_connection(ends, run):
    accepting, connecting = ends
    challenged = run(challenge, accepting)
    nonce = read(connecting, len(GREETING) + NONCE_BYTES)[len(GREETING) :]
    victim, overhearing = socket.socketpair()
    overheard = run(answer, victim)
    overhearing.sendall(GREETING + bytes(NONCE_BYTES))

    connecting.sendall(read(overhearing, NONCE_BYTES + PROOF_BYTES))
    overhearing.close()

    assert nonce != bytes(NONCE_BYTES)
    assert isinstance(challenged.exception(PATIENCE_S), NotAuthenticated)
    assert overheard.exception(PATIENCE_S)
    victim.close()


def test_the_secret_itself_is_never_sent(ends, run):
    accepting, connecting = ends
    challenged = run(challenge, accepting)
    sent_first = read(connecting, len(GREETING) + NONCE_BYTES)
    victim, overhearing = socket.socketpair()
    answered = run(answer, victim)
    overhearing.sendall(sent_first)
    sent_second = read(overhearing, NONCE_BYTES + PROOF_BYTES)
    connecting.sendall(sent_second)
    sent_third = read(connecting, PROOF_BYTES)
    overhearing.sendall(sent_third)

    assert (challenged.result(PATIENCE_S), answered.result(PATIENCE_S)) == (None, None)
    assert SECRET not in sent_first + sent_second + sent_third
    victim.close()
    overhearing.close()


def test_of_one_that_never_stops_talking_only_so_much_is_read(ends, run):
    accepting, connecting = ends
    connecting.sendall(b"GET / HTTP/1.1\r\n" * 1000)

    with pytest.raises(NotAuthenticated):
        challenge(accepting, SECRET, timeout_s=PATIENCE_S)
    accepting.setblocking(True)

    assert read(accepting, 16) == b"GET / HTTP/1.1\r\n"  # 64 bytes are gone


@pytest.mark.parametrize("first_bytes", [b"", b"G"])
def test_one_that_listens_and_says_too_little_is_not_waited_for(ends, first_bytes):
    accepting, connecting = ends
    accepting.sendall(first_bytes)

    with pytest.raises(TimeoutError):
        answer(connecting, SECRET, timeout_s=SHORT_S)


def test_one_that_connects_is_never_waited_for(ends, run):
    accepting, connecting = ends
    posed = Challenge(accepting, SECRET)
    while_silent = posed.is_met()
    connecting.sendall(b"\0" * NONCE_BYTES)

    assert (while_silent, posed.is_met()) == (False, False)
    read(connecting, len(GREETING) + NONCE_BYTES)  # closing with something unread is a reset
    connecting.close()
    with pytest.raises(ConnectionResetError, match="before it had proved who it is"):
        posed.is_met()


def test_one_that_speaks_another_language_is_named(ends, run):
    accepting, connecting = ends
    answered = run(answer, connecting)

    accepting.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")

    assert "greets with b'SSH-2.0-OpenSSH_9.2'" in str(answered.exception(PATIENCE_S))


# ---- where the secret comes from


def test_a_secret_of_the_environment_is_taken_out_of_it(monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET.decode())

    assert take_secret(None) == SECRET
    with pytest.raises(UnusableSecret, match=f"{SECRET_VARIABLE}: a secret of 0 bytes; expected at least 16"):
        take_secret(None)


def test_a_secret_of_a_file_is_its_line(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)

    assert take_secret(file) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path, mode):
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    file.chmod(mode)

    with pytest.raises(
        UnusableSecret, match=f"its mode is {mode:o}; expected one for its owner only; chmod 600"
    ):
        take_secret(file)


@pytest.mark.parametrize("length, is_usable", [(15, False), (16, True)])
def test_a_short_secret_is_refused(tmp_path, length, is_usable):
    file = tmp_path / "secret"
    file.write_bytes(b"x" * length)
    file.chmod(0o600)

    if is_usable:
        assert len(take_secret(file)) == length
    else:
        with pytest.raises(UnusableSecret, match="a secret of 15 bytes; expected at least 16"):
            take_secret(file)
