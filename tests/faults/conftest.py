"""What these tests share with the daemon's: a daemon in this process."""

from tests.daemon.conftest import rig

__all__ = ["rig"]
