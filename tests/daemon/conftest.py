"""What the daemon's tests share: a working directory, its ledger, its queue."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon.jobs.job_queue import JobQueue
from daemon.journal.events import JournalEvent
from daemon.journal.journal import Journal, LedgerRows
from daemon.ledger.ledger import Ledger
from tests.daemon.rig import Rig
from tests.support import FakeClock
from trainer.protocol.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "base")
    layout.create()
    return layout


@pytest.fixture
def ledger(layout: Layout) -> Iterator[Ledger]:
    ledger = Ledger(layout.ledger_file, clock=FakeClock(1_000_000_000.0))
    yield ledger
    ledger.close()


@pytest.fixture
def recorded() -> list[JournalEvent]:
    """What `listening` has recorded."""
    return []


@pytest.fixture
def listening(recorded: list[JournalEvent]) -> Journal:
    """A journal without a ledger, for tests that want to know what is recorded."""
    return Journal([SimpleNamespace(on_event=lambda event, at: recorded.append(event))])


@pytest.fixture
def journal(ledger: Ledger) -> Journal:
    return Journal([LedgerRows(ledger)], clock=FakeClock(1_000_000_000.0))


@pytest.fixture
def queue(layout: Layout, ledger: Ledger, journal: Journal) -> JobQueue:
    queue = JobQueue(layout, ledger, journal)
    queue.recover()
    return queue


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A daemon that is not yet started; it is stopped at the end."""
    umask = os.umask(0o077)  # the daemon sets it for its whole process
    rig = Rig(tmp_path / "base")
    # What belongs to a whole process cannot be done in a thread
    by_hand = SimpleNamespace(first=None, pass_on=lambda stop: setattr(rig, "stop_soon", stop))
    monkeypatch.setattr("daemon.app._Signals", lambda: by_hand)
    monkeypatch.setattr("daemon.app.ignore_lease_breaks", lambda: None)
    monkeypatch.setattr("daemon.app.set_up_logging", lambda *args, **kwargs: None)
    monkeypatch.setattr("daemon.loop.FAILED_TURN_WAIT_S", 0.02)
    monkeypatch.setattr("daemon.supervision.worker_exit.backoff_s", lambda failures, *, maximum_s: 0.0)
    yield rig
    rig.stop_if_running()
    os.umask(umask)
