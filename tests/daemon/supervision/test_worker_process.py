"""The worker as the daemon sees it, with workers of three lines."""

import os
import signal
import textwrap
from dataclasses import replace

import psutil
import pytest

from daemon.journal.events import WorkerHung
from daemon.supervision.hang_watch import Watch
from daemon.supervision.launcher import FAREWELL_S
from daemon.supervision.local_launcher import stderr_file
from daemon.supervision.worker_process import SAVE_S, STACKS_S, TAIL_BYTES, WorkerProcess
from tests.daemon.rig import FakeLauncher
from tests.support import PATIENCE_S, FakeClock, eventually
from trainer.protocol.job import FaultKind
from trainer.protocol.messages import Heartbeat, Leaving, LoadModel, Pause, ShutDown

HANG_AFTER_S = 120.0
PREAMBLE = """
import ctypes, faulthandler, json, os, signal, socket, subprocess, sys, time
faulthandler.register(signal.SIGUSR1)
channel = socket.socket(fileno=int(sys.argv[4]))
def say(kind, **fields):
    channel.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\\n")
def hear():
    return json.loads(channel.makefile().readline())
"""


@pytest.fixture
def start(layout, tmp_path, listening):
    """Start a worker that runs the given lines."""
    started = []

    def start(lines, clock=None, launcher=FakeLauncher):
        script = tmp_path / "worker.py"
        script.write_text(PREAMBLE + textwrap.dedent(lines))
        clock = clock or FakeClock()
        watch = Watch({}, hang_after_s=HANG_AFTER_S, ceiling_s=3600.0, now=clock())
        worker = WorkerProcess(launcher(script), layout, watch, listening, clock=clock)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.ended()


def heard(worker, number=1):
    """Return the first events."""
    found = []

    def enough():
        found.extend(worker.events())
        return len(found) >= number

    eventually(enough, timeout_s=PATIENCE_S, what=f"{number} events")
    return found


def verdict_on(worker):
    return eventually(worker.ended, timeout_s=PATIENCE_S, what="the end of the worker")


def test_what_the_worker_says_arrives_in_order(start):
    worker = start("""
        say("heartbeat", section="loading")
        say("held", global_step=7)
        hear()
    """)

    first, second = heard(worker, 2)

    assert first == Heartbeat(section="loading")
    assert second.global_step == 7
    assert worker.ended() is None


def test_what_is_sent_reaches_the_worker(start):
    worker = start("""
        said = hear()
        say("heartbeat", section="idle", detail=said["kind"] + " " + said["settings"]["text"])
        hear()
    """)

    worker.send(LoadModel(settings={"text": "\udcff ü\n"}))

    assert heard(worker)[0].detail == "load_model \udcff ü\n"


def test_a_worker_that_leaves_as_told_is_judged_by_its_words(start):
    worker = start("""
        say("leaving", reason=hear()["reason"])
    """)

    worker.send(ShutDown(reason="stop"))

    verdict = verdict_on(worker)
    assert (verdict.kind, verdict.message) == (None, "stop")


def test_words_said_right_before_the_end_are_still_heard(start):
    worker = start("""
        say("faulted", fault="environment", error_class="OSError", message="no space left")
        sys.exit(1)
    """)

    verdict = verdict_on(worker)

    assert (verdict.kind, verdict.message) == (FaultKind.ENVIRONMENT, "OSError: no space left")


def test_a_crash_comes_with_the_last_words_on_standard_error(start):
    worker = start("""
        sys.stderr.buffer.write(b"first" + b"x" * 20000 + b"last words \\xff")
        sys.exit(13)
    """)

    verdict = verdict_on(worker)

    assert (verdict.kind, verdict.message) == (FaultKind.CRASH, "the worker exited with code 13")
    assert verdict.details.endswith("last words \N{REPLACEMENT CHARACTER}")
    assert len(verdict.details) == TAIL_BYTES
    assert "first" not in verdict.details


def test_a_crash_whose_words_were_removed_is_still_judged(start, layout):
    worker = start("sys.exit(13)")
    eventually(lambda: worker._process.poll() is not None, timeout_s=PATIENCE_S)

    stderr_file(layout).unlink()

    assert worker.ended().details is None


def test_a_worker_killed_from_outside_is_a_crash(start):
    worker = start("hear()")

    os.kill(worker.pid, 9)

    assert verdict_on(worker).message == "the worker was killed by SIGKILL"


def test_telling_something_to_a_worker_that_is_gone_fails_nothing(start):
    worker = start("")
    verdict_on(worker)

    worker.send(Pause())

    assert not worker.is_connected
    assert worker.events() == []


def test_last_words_are_heard_though_a_command_found_nobody(start):
    worker = start("""
        say("faulted", fault="environment", error_class="OSError", message="no space left")
        sys.exit(1)
    """)
    eventually(lambda: worker._process.poll() is not None, timeout_s=PATIENCE_S)

    worker.send(Pause())

    assert verdict_on(worker).kind is FaultKind.ENVIRONMENT


def test_a_worker_that_does_not_read_is_killed_and_holds_nobody_up_again(start, monkeypatch):
    monkeypatch.setattr("daemon.supervision.worker_process.SEND_TIMEOUT_S", 0.01)
    worker = start("time.sleep(60)")

    worker.send(LoadModel(settings={"text": "x" * 10_000_000}))
    monkeypatch.setattr(worker._channel, "send", lambda _: pytest.fail("it was waited for again"))
    worker.send(Pause())

    verdict = verdict_on(worker)
    assert (verdict.kind, verdict.message) == (
        FaultKind.CRASH,
        "the worker read nothing for 0 s, so it was killed",
    )


@pytest.mark.parametrize("words", ["no JSON", '{"kind": "unheard_of"}', "[" * 100_000, '{"kind": "held"}'])
@pytest.mark.parametrize("last_act", ["time.sleep(60)", "sys.exit(0)"])
def test_a_worker_that_is_not_understood_is_killed_and_what_it_said_shown(start, words, last_act):
    worker = start(f"""
        channel.sendall({words!r}.encode() + b"\\n")
        {last_act}
    """)

    verdict = verdict_on(worker)

    assert verdict.kind is FaultKind.CRASH
    assert verdict.message.startswith(
        "the worker sent something that cannot be understood, so it was killed: "
    )
    assert len(verdict.message) < 600
    assert worker.events() == []


@pytest.mark.parametrize("late_s, is_killed", [(-0.1, False), (0.0, True), (5.0, True)])
def test_a_worker_is_killed_only_when_its_time_is_up(start, late_s, is_killed):
    clock = FakeClock(1000.0)
    worker = start(
        """
        say("heartbeat", section="idle")
        time.sleep(60)
        """,
        clock,
    )
    heard(worker)

    worker.dismiss_by(1010.0)
    clock.now = 1010.0 + late_s
    worker.ended()

    if is_killed:
        assert (
            verdict_on(worker).message
            == "the worker had not exited 10 s after it was asked to, so it was killed"
        )
    else:
        assert worker.ended() is None


@pytest.mark.parametrize(
    "lines, kind, message",
    [
        (
            "channel.close()",
            FaultKind.CRASH,
            "the worker closed its connection and had not ended 10 s later, so it was killed",
        ),
        (
            'say("faulted", fault="nan", error_class="NotFinite", message="no number")',
            FaultKind.NAN,
            "NotFinite: no number",
        ),
        ('say("leaving", reason="done")', None, "done"),
    ],
    ids=["closed", "faulted", "left"],
)
def test_a_worker_that_is_done_and_does_not_end_is_killed(start, lines, kind, message):
    clock = FakeClock()
    worker = start(f"""
        {lines}
        time.sleep(60)
    """, clock)  # fmt: skip
    eventually(lambda: worker.events() or not worker.is_connected, timeout_s=PATIENCE_S)

    clock.now += FAREWELL_S - 0.1
    early = worker.ended()
    clock.now += 0.1
    verdict = verdict_on(worker)

    assert early is None
    assert (verdict.kind, verdict.message) == (kind, message)


@pytest.mark.parametrize("late_s, is_killed", [(-0.1, False), (0.0, True)])
def test_a_worker_that_a_network_has_cut_off_is_given_the_time_its_launcher_says(start, late_s, is_killed):
    class Patient(FakeLauncher):
        def launch(self, layout):
            return replace(super().launch(layout), outlives_connection_s=600.0)

    clock = FakeClock()
    worker = start("channel.close(); time.sleep(60)", clock, Patient)
    eventually(lambda: worker.events() or not worker.is_connected, timeout_s=PATIENCE_S)

    for _ in range(60):  # it is not watched for hangs: nothing it did could be heard
        clock.now += 9.99
        assert worker.ended() is None
    clock.now = 1600.0 + late_s
    worker.ended()

    if is_killed:
        message = "the worker closed its connection and had not ended 600 s later, so it was killed"
        assert verdict_on(worker).message == message
    else:
        assert worker.ended() is None


@pytest.mark.parametrize("how", ["deadline", "kill", "by itself"])
def test_everything_the_worker_started_ends_with_it(start, how):
    worker = start("""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        say("heartbeat", section="idle", detail=str(child.pid))
        hear()
        os._exit(1)
    """)
    child = psutil.Process(int(heard(worker)[0].detail))

    if how == "kill":
        worker.kill()
    elif how == "by itself":
        worker.send(Pause())
        verdict_on(worker)
    else:
        worker.dismiss_by(0.0)
        verdict_on(worker)

    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, timeout_s=PATIENCE_S)


def test_killing_a_worker_that_has_ended_fails_nothing(start):
    worker = start("""say("leaving", reason="done")""")
    verdict_on(worker)

    worker.kill()


def test_the_last_word_counts_even_if_it_was_heard_long_before(start):
    worker = start("""
        say("leaving", reason="done")
        say("heartbeat", section="idle")
    """)

    events = heard(worker, 2)

    assert events[0] == Leaving(reason="done")
    assert verdict_on(worker).kind is None


# ---- a worker that hangs


def let_hang(worker, clock):
    """Let time pass until the worker counts as hung; it has then been asked for its stacks."""
    while not worker._hang:
        clock.now += 5.0
        assert worker.ended() is None


def stacks_in(layout):
    return "most recent call first" in stderr_file(layout).read_text()


SLEEPING = """
    say("heartbeat", section="training")
    time.sleep(60)
"""
HOLDING_THE_INTERPRETER = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    say("heartbeat", section="training")
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex), lock(mutex)  # unlike a sleep, no signal ends it
"""
SAVING_WHEN_TOLD = """
    def leave(*_):
        say("leaving", reason="SIGTERM")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    say("heartbeat", section="training")
    time.sleep(60)
"""


@pytest.mark.parametrize("lines", [SLEEPING, SAVING_WHEN_TOLD], ids=["dies", "saves"])
def test_a_worker_that_hangs_shows_its_stacks_and_leaves_on_sigterm(start, layout, caplog, recorded, lines):
    clock = FakeClock()
    worker = start(lines, clock)
    heard(worker)

    let_hang(worker, clock)
    eventually(lambda: stacks_in(layout), timeout_s=PATIENCE_S, what="the stacks")
    clock.now += STACKS_S
    verdict = verdict_on(worker)

    assert verdict.kind is FaultKind.HANG
    assert verdict.reason == (
        "no progress in training for 125 s (limit 120 s; longest seen 0.0 s); no heartbeat for 125 s"
    )
    assert "worker.py" in verdict.details
    assert "the worker that hung:   File" in caplog.text
    assert recorded == [WorkerHung(problem=verdict.reason)]


def test_a_worker_that_holds_the_interpreter_shows_its_stacks_and_is_killed(start, layout):
    clock = FakeClock()
    worker = start(HOLDING_THE_INTERPRETER, clock)
    heard(worker)

    let_hang(worker, clock)
    eventually(lambda: stacks_in(layout), timeout_s=PATIENCE_S, what="the stacks")
    clock.now += STACKS_S + SAVE_S - 0.1
    early = worker.ended()
    clock.now += 0.1

    assert early is None
    assert verdict_on(worker).kind is FaultKind.HANG


def test_a_worker_that_was_stopped_from_outside_hangs_and_is_killed(start):
    clock = FakeClock()
    worker = start(SLEEPING, clock)
    heard(worker)
    os.kill(worker.pid, signal.SIGSTOP)
    process = psutil.Process(worker.pid)
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, timeout_s=PATIENCE_S)

    let_hang(worker, clock)
    clock.now += STACKS_S + SAVE_S
    verdict = verdict_on(worker)

    assert verdict.kind is FaultKind.HANG
    assert verdict.reason.endswith("; the process is in state: stopped")


def test_a_worker_with_progress_is_left_alone(start):
    clock = FakeClock()
    worker = start(
        """
        for ticks in range(100):
            said = hear()
            say("heartbeat", section="training", ticks=ticks)
        """,
        clock,
    )

    for _ in range(30):
        clock.now += 9.0
        worker.send(Pause())
        heard(worker)

    assert worker.ended() is None


def test_a_dismissed_worker_that_hangs_has_no_more_time_than_it_was_given(start):
    clock = FakeClock()
    worker = start(HOLDING_THE_INTERPRETER, clock)
    heard(worker)

    worker.dismiss_by(clock() + HANG_AFTER_S + 6.0)
    let_hang(worker, clock)
    clock.now += 2.0

    assert verdict_on(worker).kind is FaultKind.HANG


# ---- memory and signals from outside


def test_a_worker_that_the_kernel_killed_for_memory_is_told_from_a_crash(start, monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr("daemon.supervision.local_launcher.count_oom_kills", lambda: next(counts, 4))
    worker = start("hear()")

    os.kill(worker.pid, signal.SIGKILL)

    assert verdict_on(worker).kind is FaultKind.OUT_OF_MEMORY


def test_a_worker_that_somebody_else_told_to_leave_was_preempted(start):
    worker = start(SAVING_WHEN_TOLD)
    heard(worker)

    os.kill(worker.pid, signal.SIGTERM)

    verdict = verdict_on(worker)
    assert (verdict.kind, verdict.was_preempted) == (None, True)


def test_the_last_words_of_the_worker_before_are_kept(start, layout):
    verdict_on(start("sys.stderr.write('first')"))

    verdict_on(start("sys.stderr.write('second')"))

    assert stderr_file(layout).read_text() == "second"
    assert stderr_file(layout).with_name("worker.stderr.1").read_text() == "first"
