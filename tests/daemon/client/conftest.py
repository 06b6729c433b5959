"""What tests of the client need."""

from tests.daemon.cli.conftest import answering

__all__ = ["answering"]
