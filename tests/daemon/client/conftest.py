"""What tests of the client need."""

import pytest

from daemon.client import Client
from tests.daemon.cli.conftest import answering
from tests.support import FakeClock

__all__ = ["answering"]


class Sleeper:
    """A clock that is moved on by waiting; `during` stands for what happens meanwhile."""

    def __init__(self):
        self.clock = FakeClock(0.0)
        self.slept = []
        self.during = lambda: None

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.now += seconds
        self.during()


@pytest.fixture
def sleeper():
    return Sleeper()


@pytest.fixture
def client(layout, sleeper):
    return Client(layout.base, clock=sleeper.clock, sleep=sleeper.sleep)
