"""Connections between machines, here from this one to itself."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from types import SimpleNamespace

import pytest

from tests.support import FakeClock
from trainer.protocol import tcp
from trainer.protocol.handshake import GREETING, NONCE_BYTES, NotAuthenticated
from trainer.protocol.tcp import MAX_UNPROVEN, BadAddress, Listener, connect, notice_lost_peer

SECRET = b"a secret of some length"
OTHER_SECRET = b"a secret that is another"
PATIENCE_S = 10.0


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener("127.0.0.1", SECRET)
    yield listener
    listener.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def stranger_of(listener: Listener) -> socket.socket:
    host, port = listener.address.split(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


def everything_said_to(stranger: socket.socket) -> bytes:
    """Return what it hears until it is sent away."""
    said = b""
    while chunk := stranger.recv(1024):
        said += chunk
    return said


def test_a_process_that_knows_the_secret_is_connected(listener, pool):
    accepted = pool.submit(listener.accept, PATIENCE_S)

    with connect(listener.address, SECRET) as there, accepted.result(PATIENCE_S) as here:
        there.sendall(b"said")

        assert here.recv(4, socket.MSG_WAITALL) == b"said"
        assert (here.gettimeout(), there.gettimeout()) == (None, None)


def test_a_stranger_is_sent_away_at_once_or_when_the_time_is_over(listener, pool, monkeypatch):
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 0.05)
    with stranger_of(listener) as silent:
        accepted = pool.submit(listener.accept, PATIENCE_S)

        with pytest.raises(OSError, match=r"closed the connection|reset"):
            connect(listener.address, OTHER_SECRET)
        told = everything_said_to(silent)
        with connect(listener.address, SECRET), accepted.result(PATIENCE_S):
            pass

    assert len(told) == len(GREETING) + NONCE_BYTES


def test_silent_strangers_hold_up_nobody_and_only_so_many_may_stay(listener, pool, monkeypatch):
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 1e6)
    with ExitStack() as strangers:
        silent = [strangers.enter_context(stranger_of(listener)) for _ in range(MAX_UNPROVEN + 9)]
        accepted = pool.submit(listener.accept, PATIENCE_S)

        with connect(listener.address, SECRET), accepted.result(PATIENCE_S):
            sent_away = [everything_said_to(stranger) for stranger in silent[:10]]
            stays = silent[10]
            listener.close()

        assert [len(told) for told in sent_away] == [len(GREETING) + NONCE_BYTES] * 10
        assert len(everything_said_to(stays)) == len(GREETING) + NONCE_BYTES


def test_of_processes_that_come_together_each_is_accepted(listener, pool):
    coming = [pool.submit(connect, listener.address, SECRET) for _ in range(4)]

    accepted = [listener.accept(PATIENCE_S) for _ in coming]

    for there, here in zip([done.result(PATIENCE_S) for done in coming], accepted, strict=True):
        there.close()
        here.close()


def test_nobody_is_waited_for_longer_than_told(listener):
    with pytest.raises(TimeoutError):
        listener.accept(0.01)


def test_a_listener_that_does_not_know_the_secret_is_not_talked_to(pool):
    impostor = Listener("127.0.0.1", OTHER_SECRET)
    accepted = pool.submit(impostor.accept, PATIENCE_S)

    with pytest.raises((NotAuthenticated, ConnectionResetError)):
        connect(impostor.address, SECRET)

    with connect(impostor.address, OTHER_SECRET), accepted.result(PATIENCE_S):
        impostor.close()


def test_an_address_where_nobody_listens_is_an_error_of_the_system(listener):
    listener.close()

    with pytest.raises(OSError, match="refused"):
        connect("127.0.0.1:1", SECRET)


@pytest.mark.parametrize("reached_after_s, left_s", [(3.0, 2.0), (4.5, 0.5), (5.0, None)])
def test_reaching_a_listener_and_proving_who_it_is_share_one_limit(monkeypatch, reached_after_s, left_s):
    now, given = FakeClock(0.0), []
    here, there = socket.socketpair()

    def reach(address, timeout_s):
        now.now += reached_after_s
        return here

    monkeypatch.setattr(tcp, "time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr(socket, "create_connection", reach)
    monkeypatch.setattr(tcp, "answer", lambda connection, secret, *, timeout_s: given.append(timeout_s))
    with here, there, nullcontext() if left_s else pytest.raises(TimeoutError, match="took all of 5 s"):
        connect("host:1", SECRET, timeout_s=5.0)

    assert given == ([left_s] if left_s else [])


def test_a_listener_that_is_closed_accepts_nobody(listener):
    listener.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.accept(PATIENCE_S)


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":80", "host:0", "host:65536", "host:x", "host:-1", "::1:80", "host:²"]
)
def test_what_is_no_address_is_named(address):
    with pytest.raises(BadAddress, match=f'the address is "{address}"; expected HOST:PORT'):
        connect(address, SECRET)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_addresses_of_the_new_kind_are_understood(pool):
    try:
        listener = Listener("::1", SECRET)
    except OSError:
        pytest.skip("this machine has no IPv6 address of its own")
    accepted = pool.submit(listener.accept, PATIENCE_S)

    with connect(listener.address, SECRET), accepted.result(PATIENCE_S):
        assert listener.address.startswith("[::1]:")
    listener.close()


def test_the_system_ends_a_connection_whose_other_machine_has_vanished():
    with socket.socket() as connection:
        notice_lost_peer(connection)

        def option(number: int) -> int:
            return connection.getsockopt(socket.IPPROTO_TCP, number)

        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(socket.TCP_USER_TIMEOUT) == 45_000
        probing_s = option(socket.TCP_KEEPCNT) * option(socket.TCP_KEEPINTVL)
        assert option(socket.TCP_KEEPIDLE) + probing_s == 45
