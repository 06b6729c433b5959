"""Make every run of the tests the same, on a busy machine too."""

import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.quick import Quick
from trainer.mains.garbage import collect_seldom

if TYPE_CHECKING:
    from tests.crash.lab import Nursery

# No deadline: how long an example takes says more about the machine than about the code
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
collect_seldom()


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> "Nursery":
    """The process that has loaded torch and forks those that need it; one for all processes of this run."""
    from tests.crash.lab import Nursery  # here, because tests without torch need not wait for it

    is_one_of_many = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp()
    folder = nursery_folder(folder.parent if is_one_of_many else folder)
    return Nursery(folder, patron=os.getppid() if is_one_of_many else None)


def nursery_folder(base: Path) -> Path:
    """Return where the nursery of a run lives whose temporary folder this is."""
    folder = base / "nursery"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    """Have the processes of a whole run forked from the nursery, so that torch is imported once for all."""
    if config.getoption("--quick") or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    from tests.crash.nursery import ForkServer

    server = ForkServer(nursery_folder(config._tmp_path_factory.getbasetemp()) / "nursery")
    for spec in specs:
        spec.python = shlex.join([sys.executable, "-m", "tests.crash.forked_python", str(server.address)])


def pytest_collection_finish() -> None:
    """Search no more for garbage in what stays: every module, and thousands of tests.

    A search of all of it takes half a second, and a trainer asks for one at the beginning of each file.
    """
    gc.freeze()
    vars(gc).update(freeze=_nothing, unfreeze=_nothing)  # or a trainer would give it all back


def _nothing() -> None:
    pass


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that load no torch; see tests/quick.py")


def pytest_configure(config: pytest.Config) -> None:
    # A script that starts the tests in the background, or with nohup, has all processes ignore these
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if config.getoption("--quick"):
        config.pluginmanager.register(Quick())
