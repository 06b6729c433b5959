"""What these tests share: a daemon in this process, and one from which others are forked."""

import pytest

from tests.crash.nursery import ForkServer
from tests.daemon.conftest import rig

__all__ = ["fork_server", "rig"]


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """The process that has imported what a daemon needs."""
    modules = ("tests.faults.run_daemon", "daemon.cli.training_daemon")
    return ForkServer(tmp_path_factory.mktemp("server") / "server", *modules)
