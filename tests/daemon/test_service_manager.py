"""What a service manager hears, over a real socket."""

import os

import pytest

from daemon.service_manager import ServiceManager
from tests.daemon.service_socket import ServiceSocket
from tests.support import FakeClock


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    manager = ServiceSocket(
        f"@training-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "n")
    )
    yield manager
    manager.close()


def test_each_word_arrives_as_systemd_knows_it(manager, listening):
    service = ServiceManager(manager.environment, listening, clock=FakeClock())

    service.ready()
    service.status("training ü.jsonl")
    service.stopping()

    assert manager.heard() == ["READY=1", "STATUS=training ü.jsonl", "STOPPING=1"]


def test_a_status_is_told_only_when_it_is_news(manager, listening):
    service = ServiceManager(manager.environment, listening, clock=FakeClock())

    for text in ["idle", "idle", "training", "training", "idle"]:
        service.status(text)

    assert manager.heard() == ["STATUS=idle", "STATUS=training", "STATUS=idle"]


def test_it_hears_of_life_twice_in_the_time_it_allows(manager, listening):
    clock = FakeClock()
    limits = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    service = ServiceManager(manager.environment | limits, listening, clock=clock)
    due_at = service.due_at()

    beats = 0
    for _ in range(100):
        clock.now += 1.0
        service.alive()
        beats += len(manager.heard())

    assert due_at == 1010.0
    assert beats == 10


@pytest.mark.parametrize(
    "limits",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
    ids=["none", "zero", "no number", "for another process"],
)
def test_it_hears_of_no_life_if_it_did_not_ask(manager, limits, listening):
    clock = FakeClock()
    service = ServiceManager(manager.environment | limits, listening, clock=clock)

    clock.now += 1e6
    service.alive()

    assert manager.heard() == []
    assert service.due_at() == float("inf")


def test_without_a_service_manager_nobody_is_told(monkeypatch, listening):
    monkeypatch.setattr("socket.socket", lambda *_: pytest.fail("a socket was opened"))
    service = ServiceManager({"WATCHDOG_USEC": "1000"}, listening, clock=FakeClock())

    service.ready()
    service.alive()

    assert service.due_at() == float("inf")


def test_a_service_manager_that_is_gone_stops_nothing_and_is_recorded_once(tmp_path, listening, recorded):
    address = str(tmp_path / "gone")
    service = ServiceManager({"NOTIFY_SOCKET": address}, listening, clock=FakeClock())

    service.ready()
    service.stopping()
    back = ServiceSocket(address)
    service.stopping()
    service.stopping()

    assert [event.message for event in recorded] == [
        "the service manager cannot be given READY=1: [Errno 2] No such file or directory",
        "the service manager can be reached again",
    ]
    back.close()


def test_a_service_manager_that_does_not_listen_holds_nobody_up(manager, listening, recorded):
    service = ServiceManager(manager.environment, listening, clock=FakeClock())

    for _ in range(10_000):
        service.ready()

    [lost] = recorded
    assert "cannot be given READY=1" in lost.message
