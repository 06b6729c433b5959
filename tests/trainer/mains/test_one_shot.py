"""A process that carries out one order answers or refuses, whatever happens, and ends with its parent."""

import os
import signal
import subprocess
import sys

import pytest
from pydantic import BaseModel

from trainer.config.loader import BadConfig
from trainer.mains import one_shot as mains
from trainer.protocol import one_shot
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import NoAnswer, OneShotOrder, OrderRefused, TimedOut

pytestmark = pytest.mark.long
CODE = """
from pydantic import BaseModel
from trainer.config.loader import BadConfig
from trainer.mains.one_shot import serve
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import OneShotOrder, OrderRefused
import os, signal, sys, threading

class Order(OneShotOrder):
    what: str

class Answer(BaseModel):
    text: str
    umask: int
    niceness: int
    killed_first: int

def carry_out(order, tell):
    tell("it goes on")
    print("what a library prints")
    exec(order.what)
    umask = os.umask(0)
    killed_first = int(open("/proc/self/oom_score_adj").read())
    return Answer(text="\\udcff", umask=umask, niceness=os.nice(0), killed_first=killed_first)

serve(Order, carry_out, niceness=3)
"""


class Order(OneShotOrder):
    what: str = ""


class Answer(BaseModel):
    text: str
    umask: int
    niceness: int
    killed_first: int


@pytest.fixture(autouse=True)
def process(monkeypatch):
    monkeypatch.setattr(one_shot, "command_of", lambda module: [sys.executable, "-P", "-c", CODE])


def asked(what: str = "", **options):
    return one_shot.ask("a module", Order(what=what), Answer, **options)


def test_it_answers_with_nothing_but_the_answer_and_stands_back_for_others():
    answer = asked()

    assert answer == Answer(text="\udcff", umask=0o077, niceness=os.nice(0) + 3, killed_first=1000)


@pytest.mark.parametrize(
    "what, message, fault, exit_code",
    [
        ("raise BadConfig('too long')", "too long", FaultKind.BAD_CONFIG, 78),
        ("raise OrderRefused('no row', FaultKind.BAD_DATA)", "no row", FaultKind.BAD_DATA, 1),
        (
            "raise OSError(28, 'No space', '/data/v\\n')",
            "/data/v\\n: no space; free some space, and try again",
            FaultKind.ENVIRONMENT,
            1,
        ),
        ("raise MemoryError()", "MemoryError", FaultKind.OUT_OF_MEMORY, 1),
        ("raise KeyError('x')", "'x'", FaultKind.CRASH, 1),
    ],
)
def test_it_says_why_it_does_not_answer_and_whose_fault_that_is(what, message, fault, exit_code):
    with pytest.raises(OrderRefused) as refused:
        asked(what)

    error = refused.value
    assert (str(error), error.fault, error.exit_code) == (message, fault, exit_code)
    assert error.errno == (28 if "28" in what else None)


def test_only_what_nobody_expected_leaves_a_traceback():
    told = []
    for what in ("raise KeyError('x')", "raise BadConfig('x')"):
        with one_shot.start("a module", Order(what=what), stderr=subprocess.PIPE) as process:
            told.append(process.communicate()[1].decode())

    assert told[0].startswith("it goes on\nwhat a library prints\nTraceback (most recent call last):")
    assert told[1] == "it goes on\nwhat a library prints\n"
    assert BadConfig.__name__ not in told[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_has_not_answered(number):
    with pytest.raises(NoAnswer, match=f"ended with code -{number.value}"):
        asked(f"os.kill(os.getpid(), {number.value})")


def test_a_process_that_takes_too_long_is_killed():
    with pytest.raises(TimedOut):
        asked("threading.Event().wait()", timeout_s=0.1)


def test_a_process_is_killed_when_nobody_wants_its_answer_any_more():
    def interrupt(words):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked("threading.Event().wait()", on_progress=interrupt)


def test_a_process_that_takes_too_long_is_killed_whatever_it_says():
    told = []

    with pytest.raises(TimedOut):
        asked("threading.Event().wait()", timeout_s=0.1, on_progress=told.append)


@pytest.mark.parametrize("said", [b'{"text": "xx', b"\xff", b'{"other": 1}', b"[" * 100_000])
@pytest.mark.parametrize("exit_code", [0, 1, 78])
def test_what_is_cut_off_or_something_else_is_no_answer(said, exit_code):
    with pytest.raises(NoAnswer, match=f"ended with code {exit_code}, and its answer is cut off, or none"):
        one_shot.read_answer(exit_code, said, Answer)


def test_a_process_whose_parent_is_gone_does_nothing():
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()

    with pytest.raises(NoAnswer, match="ended with code -9"):
        one_shot.ask("a module", Order(parent_pid=gone.pid), Answer)


def test_an_order_given_by_hand_names_no_parent():
    result = subprocess.run(
        [sys.executable, "-P", "-c", CODE], input=b'{"what": ""}', capture_output=True, check=True
    )

    assert b'"killed_first": 1000' in result.stdout


def test_whoever_would_write_checkpoints_beside_a_worker_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mains, "LOCK_WAIT_S", 0.0)
    layout = Layout(tmp_path)
    layout.create()

    with mains.models_locked(layout), pytest.raises(OrderRefused) as refused, mains.models_locked(layout):
        pytest.fail("two at once")
    with mains.models_locked(layout):
        pass  # it was released

    assert refused.value.fault is FaultKind.ENVIRONMENT
    assert str(refused.value) == f"{layout.models} is held by a worker; expected none; stop it and try again"
