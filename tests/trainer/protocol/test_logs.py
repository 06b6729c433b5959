"""The log of a process, also while it cannot be written."""

import logging

import pytest

from trainer.protocol.logs import set_up_logging


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Set up logging as a daemon does; afterwards all is as it was before."""
    root = logging.getLogger()
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    set_up_logging(tmp_path / "daemon.log", form="text")
    [handler] = root.handlers
    yield handler
    handler.close()


def test_a_log_that_cannot_be_written_says_so_once_until_it_can_be_again(log, monkeypatch, tmp_path, capsys):
    def refuse(record):
        raise OSError(28, "No space left on device")

    for message in ("first", "second"):
        with monkeypatch.context() as disk:
            disk.setattr(log, "format", refuse)
            logging.info("lost")
            logging.info("lost")
        logging.info(message)

    complaint = "the log cannot be written: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == 2 * complaint
    assert [line.split()[-1] for line in (tmp_path / "daemon.log").read_text().splitlines()] == [
        "first",
        "second",
    ]
