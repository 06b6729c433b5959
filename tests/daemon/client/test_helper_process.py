"""A process is asked: its answer comes back, or why there is none."""

import sys

import pytest
from pydantic import BaseModel

from daemon.client.errors import FileRefused, HelperFailed
from daemon.client.helper_process import ask
from trainer.protocol import one_shot
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import OneShotOrder, Refused

TRACEBACK = "Traceback (most recent call last):\n  line 1\nKeyError"


class Order(OneShotOrder):
    file: str = "\udcff"


class Answer(BaseModel):
    text: str


def asked(**options):
    return ask("trainer.mains.inspect_file", Order(), Answer, **options)


def test_the_answer_comes_back_and_the_words_are_told_printable(answering):
    answering.prepare(Answer(text="x" * 200_000).model_dump_json(), words="reading\n\x1b[31mrows\n")
    told = []

    answer = asked(on_progress=told.append)

    assert answer == Answer(text="x" * 200_000)
    assert told == ["reading", "\\x1b[31mrows"]
    assert answering.order["file"] == "\udcff"
    assert answering.module == "trainer.mains.inspect_file"


@pytest.mark.parametrize("fault, code", [(FaultKind.BAD_CONFIG, 78), (FaultKind.BAD_DATA, 1)])
def test_a_refusal_is_told_line_by_line_and_ends_a_command_by_whose_fault_it_is(answering, fault, code):
    refused = Refused(message="data.max_length is \x1b7\nor so", fault=fault)
    answering.prepare(refused.model_dump_json(), code=code)

    with pytest.raises(FileRefused) as failure:
        asked()

    assert str(failure.value) == "data.max_length is \\x1b7\nor so"
    assert failure.value.exit_code == code


@pytest.mark.parametrize("words, message", [("", "'x'"), (f"reading\n{TRACEBACK}\n", TRACEBACK)])
def test_what_nobody_expected_shows_where_it_came_from(answering, words, message):
    refused = Refused(message="'x'", fault=FaultKind.CRASH)
    answering.prepare(refused.model_dump_json(), words=words, code=1)

    with pytest.raises(HelperFailed) as failure:
        asked()

    assert str(failure.value) == message


@pytest.mark.parametrize(
    "words, code, message",
    [
        ("reading\nits last words\n", 1, "its last words"),
        ("", 3, "the process ended with code 3; it has left no message that says why; try again"),
        (f"reading\n{TRACEBACK}\n", 1, TRACEBACK),
    ],
)
def test_a_process_without_an_answer_is_a_failure_with_its_last_words(answering, words, code, message):
    answering.prepare(words=words, code=code)

    with pytest.raises(HelperFailed) as failure:
        asked()

    assert str(failure.value) == message
    assert failure.value.exit_code == code


def test_an_answer_that_is_cut_off_is_none(answering):
    answering.prepare('{"text": "xx', words="reading\n")

    with pytest.raises(HelperFailed, match="ended with code 0, and its answer is cut off"):
        asked()


def test_a_process_that_was_killed_is_explained(monkeypatch):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(one_shot, "command_of", lambda module: [sys.executable, "-S", "-c", code])

    with pytest.raises(HelperFailed, match="killed, probably because memory ran out") as failure:
        asked()

    assert failure.value.exit_code == 1
