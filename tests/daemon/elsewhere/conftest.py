"""A daemon whose workers are elsewhere, and that is blind to every process of this machine but itself."""

from collections.abc import Iterator

import pytest

from tests.daemon.elsewhere.launcher import FarLauncher
from tests.daemon.rig import Rig


@pytest.fixture
def far(rig: Rig, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarLauncher]:
    """The launcher of the rig's daemon."""
    launcher = rig.launcher = FarLauncher(tmp_path / "agent")
    for name in ("local_launcher.read_rss", "local_launcher.read_signs", "local_launcher.count_oom_kills"):
        monkeypatch.setattr(f"daemon.supervision.{name}", lambda *_: pytest.fail("this machine was asked"))
    monkeypatch.setattr("daemon.supervision.vital_signs.psutil", None)
    yield launcher
    rig.stop_if_running()
    launcher.close()
