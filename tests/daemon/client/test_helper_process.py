"""A process is asked: its answer comes back, or its last words do."""

import sys

import pytest

from daemon.client import helper_process
from daemon.client.errors import HelperFailed
from daemon.client.helper_process import ask


def asked(**options):
    return ask("trainer.mains.inspect_file", {"file": "\udcff"}, **({"tell": lambda words: None} | options))


def test_the_answer_comes_back_and_the_words_are_told_printable(answering):
    answering.prepare("x" * 200_000, words="reading\n\x1b[31mrows\n")
    told = []

    answer = asked(tell=told.append)

    assert answer == b"x" * 200_000
    assert told == ["reading", "\\x1b[31mrows"]
    assert answering.order == {"file": "\udcff"}
    assert answering.module == "trainer.mains.inspect_file"


@pytest.mark.parametrize(
    "words, code, message",
    [
        ("reading\ndata.max_length is 7\n", 78, "data.max_length is 7"),
        ("", 3, "the process ended with code 3 and said nothing"),
        (
            "reading\nTraceback (most recent call last):\n  line 1\nKeyError\n",
            1,
            "Traceback (most recent call last):\n  line 1\nKeyError",
        ),
    ],
)
def test_a_process_without_an_answer_is_a_failure_with_its_last_words(answering, words, code, message):
    answering.prepare(words=words, code=code)

    with pytest.raises(HelperFailed) as failure:
        asked()

    assert str(failure.value) == message
    assert failure.value.exit_code == code


def test_a_process_that_was_killed_is_explained(monkeypatch):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(helper_process, "command_of", lambda module: [sys.executable, "-S", "-c", code])

    with pytest.raises(HelperFailed, match="killed, probably for its memory") as failure:
        asked()

    assert failure.value.exit_code == 1
