"""Every command in every state: what it does, what it answers, and that it leaves nothing behind."""

import json
import logging
import os
import time

import pytest

import daemon.intake.checker
from daemon.jobs.wishes import NOT_FORGOTTEN, NOT_MERGED
from daemon.settings.live_settings import LiveSettings
from tests.support import rows, write_jsonl
from trainer.data.checks.file_check import CheckCancelled, check_file
from trainer.protocol.job import Outcome, Priority


@pytest.fixture
def slow_check(rig, monkeypatch):
    """A check that ends only when it is cancelled or told to go."""

    def check(path, **options):
        while not (rig.layout.base / "go").exists():
            if options["is_cancelled"]():
                raise CheckCancelled
            time.sleep(0.005)
        return check_file(path, **options)

    return lambda: monkeypatch.setattr(daemon.intake.checker, "check_file", check)


@pytest.fixture
def bring_to(rig, slow_check):
    """Bring a daemon with the file a.jsonl into a state."""

    def bring_to(state):
        match state:
            case "idle":
                rig.start().until_status("idle")
                return
            case "training" | "held":
                rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2"}
            case "loading":
                rig.launcher.environment = {"FAKE_HOLD": "load"}
            case "checking":
                slow_check()
        rig.start().drop("a.jsonl", 3)
        if state in ("training", "held"):
            rig.until_training("a.jsonl")
        if state == "held":
            rig.command("pause")
            rig.until_status("paused")
            return
        rig.until_status("training" if state == "held" else state)

    return bring_to


STATES = ["idle", "training", "held", "loading", "checking"]
LEFT_BEHIND = {"training": "processing", "held": "processing", "loading": "normal", "checking": "normal"}


def where(rig, name="a.jsonl"):
    """Return the folder in which a file lies."""
    [path] = [path for path in rig.layout.base.rglob(name) if path.is_file()]
    return path.parent.name


def test_while_paused_a_new_priority_is_shown_long_before_the_next_heartbeat(rig, monkeypatch):
    monkeypatch.setattr("daemon.status.board.IDLE_INTERVAL_S", 1e6)
    rig.start()
    rig.command("pause")
    rig.until_status("paused")
    rig.drop("a.jsonl")
    rig.until(lambda: rig.status()["queue"]["normal"] == 1)

    (rig.layout.waiting(Priority.NORMAL) / "a.jsonl").rename(rig.layout.waiting(Priority.HIGH) / "a.jsonl")

    rig.until(lambda: rig.status()["queue"]["high"] == 1)


def test_a_control_file_that_is_misspelt_gets_an_alert_until_it_is_gone(rig):
    path = rig.layout.control / ".stpo"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    rig.start()

    alerts = rig.until(lambda: rig.status().get("alerts"), "the alert")
    path.unlink()
    rig.until(lambda: not rig.status()["alerts"], "its end")

    assert alerts == ["control/: .stpo not understood; expected .pause, .resume, .skip or .stop"]
    assert rig.stop() == 0


@pytest.mark.parametrize("how", ["stop", "stop --now", "signal"])
def test_the_log_says_once_that_the_daemon_stops(rig, caplog, how):
    caplog.set_level(logging.INFO)
    rig.start()

    if how == "signal":
        rig.stop_soon()
    else:
        rig.command("stop", json.dumps({"now": how == "stop --now"}))

    assert rig.left() == 0
    said = [record.getMessage() for record in caplog.records if "stopping" in record.getMessage()]
    assert len(said) == 1
    assert len(rig.events("stopping")) == 1


def assert_noted(rig, name, answer):
    """The command stands in the ledger with its answer, and its file is gone."""
    rig.until(lambda: f"{name}: {answer}" in rig.events("command"), f"the event of {name}")
    assert [path.name for path in rig.layout.control.iterdir()] == []


# ---- pause and resume


@pytest.mark.parametrize("state", STATES)
def test_pause_holds_in_every_state(rig, bring_to, state):
    bring_to(state)

    rig.command("pause", '{"reason": "lunch"}')

    rig.until_status("paused", status_reason="lunch")
    was_paused = state == "held"
    answer = "was paused already; the reason is now the one given" if was_paused else "paused"
    assert_noted(rig, "pause", f"{answer} (lunch)")


@pytest.mark.parametrize("state", ["training", "loading"])
def test_the_reason_of_a_skip_is_kept_with_its_job(rig, bring_to, state):
    bring_to(state)
    [job_id] = [row["job_id"] for row in rig.read("SELECT job_id FROM events WHERE kind = 'accepted'")]

    rig.command("skip", '{"reason": "wrong export"}')

    rig.until(lambda: "skip: skipped a.jsonl (wrong export)" in rig.events("command"))
    [noted] = rig.read("SELECT job_id FROM events WHERE kind = 'command'")
    assert noted["job_id"] == job_id


@pytest.mark.parametrize("state", ["training", "loading", "checking"])
def test_nothing_is_trained_while_paused_and_everything_after_a_resume(rig, bring_to, state):
    bring_to(state)
    rig.command("pause")
    rig.until_status("paused")

    rig.go()
    rig.drop("b.jsonl")
    rig.until(lambda: "b.jsonl (3 rows, normal)" in str(rig.events("accepted")))
    trained_meanwhile = rig.events("trained")
    rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    assert trained_meanwhile == []
    assert_noted(rig, "resume", "training continues")


def test_a_held_file_goes_on_where_it_was_held(rig, bring_to):
    bring_to("held")

    rig.go()
    rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps")] == [1, 2, 3]
    assert len(rig.launcher.launched) == 1


def test_a_second_pause_keeps_the_reason_of_the_first_unless_it_gives_one(rig):
    rig.start()
    rig.command("pause", '{"reason": "lunch"}')
    rig.until_status("paused", status_reason="lunch")

    rig.command("pause")
    rig.until(lambda: len(rig.events("command")) == 2)

    assert rig.status()["status_reason"] == "lunch"
    assert_noted(rig, "pause", "was paused already (lunch)")
    rig.command("pause", '{"reason": "dinner"}')
    rig.until_status("paused", status_reason="dinner")
    assert_noted(rig, "pause", "was paused already; the reason is now the one given (dinner)")


@pytest.mark.parametrize("state", ["idle", "training", "loading", "checking"])
def test_a_resume_without_a_pause_says_so_and_changes_nothing(rig, bring_to, state):
    bring_to(state)

    rig.command("resume")

    assert rig.until_answered("resume") == "was not paused"
    assert_noted(rig, "resume", "was not paused")
    assert rig.status()["status"] == state


def test_a_resume_that_lay_there_does_not_end_a_later_pause(rig):
    rig.command("resume")
    rig.start()
    rig.until_answered("resume")

    rig.command("pause")
    rig.until_status("paused")
    rig.drop("a.jsonl")
    rig.until(lambda: rig.events("accepted"))

    assert rig.status()["status"] == "paused"
    assert where(rig) == "normal"


def test_of_a_pause_and_a_resume_the_later_one_counts(rig):
    pause, resume = rig.command("pause"), rig.command("resume")
    os.utime(pause, (2000, 2000))
    os.utime(resume, (1000, 1000))

    rig.start()

    rig.until_status("paused")


def test_a_pause_holds_across_a_restart(rig):
    rig.start()
    rig.command("pause", '{"reason": "night"}')
    rig.until_status("paused")
    rig.stop()

    rig.start()
    rig.drop("a.jsonl")
    rig.until(lambda: rig.events("accepted"))
    rig.until_status("paused", status_reason="night")
    rig.command("resume")

    rig.until_in(Outcome.COMPLETED, "a.jsonl")


# ---- skip


def test_skip_without_a_file_says_so(rig, bring_to):
    bring_to("idle")

    rig.command("skip")

    assert rig.until_answered("skip") == "nothing to skip"
    assert_noted(rig, "skip", "nothing to skip")


@pytest.mark.parametrize("state", ["training", "held", "loading", "checking"])
def test_skip_puts_the_current_file_aside_with_the_reason(rig, bring_to, state):
    bring_to(state)

    rig.command("skip")

    assert rig.until_answered("skip") == "skipped a.jsonl"
    rig.until_in(Outcome.SKIPPED, "a.jsonl", "a.jsonl.reason.json")
    assert_noted(rig, "skip", "skipped a.jsonl")


@pytest.mark.parametrize("state", ["training", "loading", "checking"])
def test_the_next_file_is_trained_after_a_skip(rig, bring_to, state):
    bring_to(state)
    rig.command("skip")
    rig.until_answered("skip")

    rig.drop("b.jsonl")
    rig.go()

    rig.until_in(Outcome.COMPLETED, "b.jsonl")
    rig.until_in(Outcome.SKIPPED, "a.jsonl")


def test_a_skip_while_paused_leaves_the_pause_alone(rig, bring_to):
    bring_to("held")
    rig.command("skip")
    rig.until_in(Outcome.SKIPPED, "a.jsonl")

    rig.drop("b.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    assert rig.until_status("paused")
    assert where(rig, "b.jsonl") == "normal"


def test_a_skip_is_not_forgotten_when_the_worker_dies_of_it(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_DIE_SKIPPING": "1"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.command("skip")

    assert rig.until_answered("skip") == "skipped a.jsonl"
    rig.until_in(Outcome.SKIPPED, "a.jsonl", "a.jsonl.reason.json")


# ---- stop


@pytest.mark.parametrize("how", ["stop", "stop now", "emergency", "signal"])
@pytest.mark.parametrize("state", ["idle", "held", "loading", "checking"])
def test_a_daemon_that_is_not_training_stops_at_once(rig, bring_to, state, how):
    bring_to(state)

    match how:
        case "stop":
            rig.command("stop")
        case "stop now":
            rig.command("stop", '{"now": true}')
        case "emergency":
            rig.layout.emergency_stop.touch()
        case "signal":
            rig.stop_soon()
    if state == "loading":
        if how == "stop":  # with another answer once the worker trains
            rig.until(lambda: rig.events("command"), "the answer")
        rig.go()  # a worker hears nothing while it loads

    assert rig.left() == 0
    assert rig.status()["status"] == "stopped"
    assert rig.status()["worker_pid"] is None
    assert not rig.layout.emergency_stop.exists()
    assert list(rig.layout.control.iterdir()) == []
    if state != "idle":
        assert where(rig) == LEFT_BEHIND[state]
    if how == "stop":
        answers = {"held": "paused, so the daemon stops", "loading": "stopping before training starts"}
        answer = answers.get(state, "stopping; no file is being trained")
        assert any(f"stop: {answer}" in event for event in rig.events("command"))
    elif how != "signal":
        assert "stop_now: stopping at the next step" in rig.events("command")


@pytest.mark.parametrize(
    "state, answer",
    [
        ("loading", "stopping before training starts; the next start trains the file"),
        ("training", "stopping after the current file"),
        ("held", "paused, so the daemon stops without waiting for the file"),
        ("idle", "stopping; no file is being trained"),
    ],
)
def test_a_stop_says_what_it_waits_for(rig, bring_to, state, answer):
    bring_to(state)

    rig.command("stop")

    assert rig.until_answered("stop").startswith(answer)
    rig.go()


def test_a_stop_while_the_worker_loads_is_shown_as_it_was_answered(rig, bring_to):
    bring_to("loading")

    rig.command("stop")

    rig.until_status("stopping", status_reason="before training starts")
    rig.go()
    assert rig.left() == 0
    assert where(rig) == "normal"


def test_after_a_stop_is_cancelled_a_worker_that_was_told_to_exit_leaves_nobody_idle(rig, bring_to):
    bring_to("loading")
    rig.command("stop")
    rig.until_status("stopping")

    rig.command("resume")

    rig.until_status("loading", status_reason="the worker exits, and another one takes its place")
    rig.go()
    rig.until_in(Outcome.COMPLETED, "a.jsonl")


def test_stop_while_training_waits_for_the_file_and_begins_no_other(rig, bring_to):
    bring_to("training")
    rig.drop("b.jsonl")
    rig.until(lambda: len(rig.events("accepted")) == 2)

    rig.command("stop")
    rig.until_status("stopping", status_reason="after the current file")
    rig.go()

    assert rig.left() == 0
    assert where(rig, "a.jsonl") == "recently_completed"
    assert where(rig, "b.jsonl") == "normal"


def test_a_pause_ends_a_stop_that_waits_for_its_file_and_says_so(rig, bring_to):
    bring_to("training")
    rig.command("stop")
    rig.until_status("stopping")

    rig.command("pause")

    assert rig.until_answered("pause").startswith("paused, so the daemon stops without")
    assert rig.left() == 0
    assert where(rig, "a.jsonl") == "processing"


def test_with_an_empty_queue_neither_a_stop_nor_its_end_speaks_of_a_file(rig, bring_to):
    bring_to("loading")
    rig.command("pause")
    rig.until_answered("pause")
    rig.command("skip")
    rig.until_answered("skip")

    rig.command("stop")
    stopped = rig.until_answered("stop")
    rig.command("skip")
    skipped = rig.until_answered("skip")
    rig.command("resume")

    assert stopped == "paused, so the daemon stops at once; the next start is paused, too"
    assert skipped == "nothing to skip"
    assert rig.until_answered("resume") == "the stop is cancelled; the queue is empty"
    rig.go()


def test_a_resume_cancels_a_stop_that_waits_for_its_file(rig, bring_to):
    bring_to("training")
    rig.command("stop")
    rig.until_status("stopping")

    rig.command("resume")
    answer = rig.until_answered("resume")
    rig.go()
    rig.drop("b.jsonl")

    assert answer == "the stop is cancelled; training continues"
    rig.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")
    assert rig.events("stop_cancelled") == ["the stop was cancelled"]


def test_a_resume_comes_too_late_once_the_daemon_stops(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_DEAF": "1"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")
    rig.stop_soon()
    rig.until_status("stopping")

    rig.command("resume")

    assert rig.until_answered("resume").startswith("too late: the daemon is stopping")
    rig.stop_soon()
    assert rig.left() == 0


@pytest.mark.parametrize("how", ["stop now", "emergency", "signal"])
def test_stop_now_while_training_saves_and_the_next_daemon_goes_on(rig, bring_to, how):
    bring_to("training")

    match how:
        case "stop now":
            rig.command("stop", '{"now": true}')
        case "emergency":
            rig.layout.emergency_stop.touch()
        case "signal":
            rig.stop_soon()
    code, place = rig.left(), where(rig)
    rig.go()
    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    assert (code, place) == (0, "processing")
    assert [row["file_step"] for row in rig.read("SELECT * FROM steps")] == [1, 2, 3]
    [job] = rig.read("SELECT * FROM jobs")
    assert (job["rows_trained"], job["attempts"]) == (3, 0)


def test_stop_now_overrides_a_stop_that_waits_for_its_file(rig, bring_to):
    bring_to("training")
    rig.command("stop")
    rig.until_status("stopping")

    rig.command("stop", '{"now": true}')

    assert rig.left() == 0
    assert where(rig) == "processing"


def test_a_worker_that_does_not_leave_is_killed_when_its_time_is_up(rig):
    rig.configure(daemon={"stop_grace_s": 0})
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_DEAF": "1"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")

    rig.stop_soon()

    assert rig.left() == 0
    assert rig.launcher.launched[0].returncode == -9
    assert where(rig) == "processing"


def test_a_second_signal_does_not_wait_for_the_worker(rig):
    rig.launcher.environment = {"FAKE_HOLD": "a.jsonl:2", "FAKE_DEAF": "1"}
    rig.start().drop("a.jsonl")
    rig.until_training("a.jsonl")
    rig.stop_soon()
    rig.until_status("stopping")

    rig.stop_soon()

    assert rig.left() == 0
    assert rig.launcher.launched[0].returncode == -9


# ---- requests from before the start


FAR_FUTURE = 4_000_000_000


@pytest.mark.parametrize("written_at", [1000, FAR_FUTURE], ids=["long ago", "the clock has jumped back"])
@pytest.mark.parametrize(
    "name, refusal", [("stop", ""), ("skip", ""), ("forget", NOT_FORGOTTEN), ("consolidate", NOT_MERGED)]
)
def test_a_request_from_before_the_start_is_reported_and_not_obeyed(rig, name, refusal, written_at):
    os.utime(rig.command(name), (written_at, written_at))
    rig.drop("a.jsonl")

    rig.start()

    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    why = "too old: it was given before the daemon started"
    assert_noted(rig, name, f"{refusal}: {why}" if refusal else why)  # by which a client tells a failure


@pytest.mark.parametrize("written_at", [1000, FAR_FUTURE], ids=["the clock was behind", "it was ahead"])
def test_a_request_that_comes_while_the_daemon_starts_is_obeyed_whatever_its_time(
    rig, monkeypatch, written_at
):
    begin = LiveSettings.__init__

    def begin_late(self, *arguments):
        begin(self, *arguments)
        os.utime(rig.command("stop"), (written_at, written_at))

    os.utime(rig.command("stop"), (2000, 2000))
    monkeypatch.setattr(LiveSettings, "__init__", begin_late)

    rig.start()

    assert rig.left() == 0
    assert "stop: stopping; no file is being trained" in rig.events("command")


def test_a_pause_from_before_the_start_is_obeyed(rig):
    os.utime(rig.command("pause"), (1000, 1000))
    rig.drop("a.jsonl")

    rig.start()

    rig.until_status("paused")
    rig.until(lambda: rig.events("accepted"))
    assert where(rig) == "normal"


def test_an_emergency_stop_from_before_the_start_is_obeyed(rig):
    rig.layout.emergency_stop.touch()
    os.utime(rig.layout.emergency_stop, (1000, 1000))
    write_jsonl(rig.layout.waiting(Priority.HIGH) / "a.jsonl", rows(1))

    rig.start()

    assert rig.left() == 0
    assert where(rig) == "high"


# ---- the shape of a request


def test_the_id_of_a_request_comes_back_with_the_answer(rig):
    rig.start()

    rig.command("skip", '{"id": "4711"}')
    rig.until_answered("skip")

    assert rig.status()["last_command"]["id"] == "4711"


@pytest.mark.parametrize("content", [[], ["something of a person's"]], ids=["empty", "full"])
def test_a_folder_named_like_a_request_is_obeyed_once_and_nothing_in_it_is_deleted(rig, content):
    rig.start()
    folder = rig.layout.base / "made"
    folder.mkdir()
    for name in content:
        (folder / name).touch()

    folder.rename(rig.layout.control / ".pause")
    rig.until_status("paused")
    rig.until(lambda: not (rig.layout.control / ".pause").exists())
    rig.command("resume")

    rig.until_status("idle")
    assert [path.name for path in rig.layout.control.rglob("something*")] == content
