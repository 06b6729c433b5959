"""A file is forgotten on request: the worker makes room for it, and the queue and the ledger follow."""

import json
import threading
from types import SimpleNamespace

import pytest

from daemon import forgetting
from daemon.jobs.forget_orders import order_to_forget
from daemon.jobs.wishes import NOT_FORGOTTEN, ForgetWish
from tests.health import publish
from tests.support import PATIENCE_S, rows
from trainer.mains import forget as forget_main
from trainer.mains.forget import carry_out
from trainer.protocol.forgetting import ForgetOrder, Forgot
from trainer.protocol.job import FaultKind, JobRecord, Outcome
from trainer.protocol.manifest import Branch, JobFate, Progress
from trainer.protocol.one_shot import NoAnswer, OrderRefused


@pytest.fixture
def trained(rig):
    """A daemon that has trained a.jsonl and b.jsonl, with a checkpoint after each."""
    rig.start()
    for name in ("a.jsonl", "b.jsonl"):
        rig.drop(name, 3 if name == "a.jsonl" else 2)
        rig.until_in(Outcome.COMPLETED, name)
    records = [
        JobRecord(
            job_id=row["id"],
            name=row["display"],
            sha256=row["sha256"],
            outcome=Outcome.COMPLETED,
            rows_trained=row["rows"],
            steps=row["rows"],
        )
        for row in rig.read("SELECT * FROM jobs ORDER BY id")
    ]
    for number, step in ((1, 3), (2, 5)):
        publish(rig.layout, number, progress=Progress(global_step=step, finished=records[:number]))
    return rig


def forget(rig, name, **request):
    """Ask for it, and return the answer to this very request."""
    request_id = f"{len(rig.events())}"
    rig.command("forget", json.dumps({"id": request_id, "target": name, "reason": "bad", **request}))

    def answer():
        shown = rig.status()["last_command"]
        return shown["result"] if shown and shown["id"] == request_id else None

    return rig.until(answer, "the answer")


def job_of(rig, name):
    [row] = rig.read(f"SELECT * FROM jobs WHERE display = '{name}'")
    return row


class Published:
    """Stands for the process: publishes the state after a.jsonl anew, as if it had been trained again."""

    def __init__(self, rig):
        self._rig = rig
        self.orders = 0

    def ask(self, module, order, answer_type, *, on_start, on_progress):
        self.orders += 1
        on_progress("trained again up to step 3 of 3")
        job = job_of(self._rig, "b.jsonl")
        branch = Branch(
            number=1, from_branch=0, from_step=3, left_step=5, at="now", why="forget", reason="bad",
            jobs=(JobFate(job_id=job["id"], fate="forgotten"),),
        )  # fmt: skip
        publish(self._rig.layout, 3, branches=(branch,), progress=Progress(global_step=3))
        (self._rig.layout.finished(Outcome.COMPLETED) / "b.jsonl").unlink()
        return Forgot(branch=branch, trained_steps=0)


@pytest.mark.parametrize("name", ["nobody.jsonl", "", "../b.jsonl/", "00000000"])
def test_what_is_no_file_of_the_ledger_is_not_forgotten(trained, name):
    assert forget(trained, name).startswith(f"{NOT_FORGOTTEN}: no file is known as ")

    trained.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")


def test_the_ledger_follows_the_model_that_has_forgotten(trained, monkeypatch):
    process = Published(trained)
    monkeypatch.setattr(forgetting.one_shot, "ask", process.ask)

    answer = forget(trained, "b.jsonl")

    assert answer.startswith("the model went back to step 3, from before the file; the file is erased")
    assert [row["global_step"] for row in trained.read("SELECT global_step FROM steps")] == [1, 2, 3]
    job = job_of(trained, "b.jsonl")
    assert (job["state"], json.loads(job["reason"])["message"]) == ("removed", "forgotten, and erased: bad")
    [event] = trained.events("went_back")
    assert "the model has forgotten b.jsonl: it is now as if it had been trained without" in event
    assert process.orders == 1


@pytest.mark.parametrize("is_running", [True, False])
def test_of_a_file_that_was_never_trained_the_ledger_knows_that_it_was_forgotten(
    trained, monkeypatch, is_running
):
    trained.command("pause")
    trained.until_answered("pause")
    content = b"".join(json.dumps(item).encode() + b"\n" for item in rows(150)) + b"Say 151: no JSON\n"
    trained.layout.inbox.joinpath(".c.part").write_bytes(content)
    trained.layout.inbox.joinpath(".c.part").rename(trained.layout.inbox / "c.jsonl")
    listed = trained.layout.failed / "c.jsonl.rejected.jsonl"
    trained.until(lambda: trained.read("SELECT id FROM jobs WHERE display = 'c.jsonl'"), "the file's job")
    assert b"Say 151" in listed.read_bytes()
    monkeypatch.setattr(forget_main, "signal", SimpleNamespace(signal=lambda *_: None, SIGTERM=15))

    if is_running:
        monkeypatch.setattr(forgetting.one_shot, "ask", lambda module, order, *_, **__: carry_out(order, str))
        asked(trained, "c.jsonl")
        answer = trained.until(lambda: answer_to(trained, "mine"), "the answer")  # without a resume
        assert trained.status()["status"] == "paused"
        assert answer.startswith("the model was not trained on the file; the file is erased")
    else:
        trained.stop()
        wish = ForgetWish(name="c.jsonl", keep_versions=False, reason="bad")
        order_to_forget(trained.layout, wish, {})
        carry_out(ForgetOrder(base_dir=trained.layout.base), str)
        trained.start()

    job = trained.until(
        lambda: (found := job_of(trained, "c.jsonl"))["state"] == "removed" and found, "the end of the job"
    )
    assert json.loads(job["reason"])["message"].startswith("forgotten, and erased: ")
    assert json.loads(job["rejected"]) == []
    assert list(trained.layout.queue.rglob("c.jsonl*")) == []
    assert list((trained.layout.models / "branches").iterdir()) == []


def test_a_process_that_dies_changes_nothing(trained, monkeypatch):
    def die(*arguments, **named):
        raise NoAnswer(-9)

    monkeypatch.setattr(forgetting.one_shot, "ask", die)

    assert forget(trained, "b.jsonl") == f"{NOT_FORGOTTEN}: ended with code -9"

    assert job_of(trained, "b.jsonl")["state"] == "completed"
    trained.until_in(Outcome.COMPLETED, "a.jsonl", "b.jsonl")


def test_a_stop_does_not_wait_for_it(trained, monkeypatch):

    is_asked, may_end = threading.Event(), threading.Event()

    def hang(*arguments, on_progress, **named):
        on_progress("trained again up to step 1 of 3")
        is_asked.set()
        may_end.wait(PATIENCE_S)
        raise NoAnswer(-9)

    monkeypatch.setattr(forgetting.one_shot, "ask", hang)
    trained.command("forget", json.dumps({"id": "mine", "target": "b.jsonl"}))
    is_asked.wait(PATIENCE_S)
    said = "forgetting b.jsonl: trained again up to step 1 of 3"
    shown = trained.until_status("training", status_reason=said)

    trained.command("stop", "{}")
    code = trained.left()
    may_end.set()

    assert shown["current_file"] is None
    assert code == 0
    rows = trained.read("SELECT data FROM events WHERE kind = 'command'")
    answers = [json.loads(row["data"]) for row in rows]
    [answer] = [data for data in answers if data.get("request_id") == "mine"]
    assert answer["result"].startswith(f"{NOT_FORGOTTEN}: the daemon stops; ask again")


def test_a_second_request_has_to_wait(trained, monkeypatch):

    is_asked, may_end = threading.Event(), threading.Event()

    def hang(*arguments, on_progress, **named):
        is_asked.set()
        may_end.wait(PATIENCE_S)
        raise NoAnswer(-9)

    monkeypatch.setattr(forgetting.one_shot, "ask", hang)
    trained.command("forget", json.dumps({"id": "first", "target": "b.jsonl"}))
    is_asked.wait(PATIENCE_S)

    same = forget(trained, "b.jsonl")
    second = forget(trained, "a.jsonl")
    may_end.set()

    assert same.startswith(f"{NOT_FORGOTTEN}: it forgets this file already")
    assert second.startswith(f"{NOT_FORGOTTEN}: it forgets a file already")


class Held(Published):
    """Stands for a process that trains until it is asked to end, and the second time to its end."""

    def __init__(self, rig):
        super().__init__(rig)
        self.is_asked_to_end = threading.Event()

    def terminate(self):
        self.is_asked_to_end.set()

    def ask(self, module, order, answer_type, *, on_start, on_progress):
        if self.orders:
            return super().ask(module, order, answer_type, on_start=on_start, on_progress=on_progress)
        self.orders += 1
        on_start(self)
        on_progress("trained again up to step 1 of 3")
        assert self.is_asked_to_end.wait(PATIENCE_S)
        raise OrderRefused("asked to stop", FaultKind.REQUEST)


@pytest.fixture
def held(trained, monkeypatch):
    process = Held(trained)
    monkeypatch.setattr(forgetting.one_shot, "ask", process.ask)
    return process


def asked(rig, name):
    rig.command("forget", json.dumps({"id": "mine", "target": name, "reason": "bad"}))


def answer_to(rig, request_id):
    rows = rig.read("SELECT data FROM events WHERE kind = 'command'")
    answers = [json.loads(row["data"]) for row in rows]
    return next((data["result"] for data in answers if data.get("request_id") == request_id), None)


def test_a_pause_holds_it_at_the_next_step_and_a_resume_continues_it(trained, held):
    asked(trained, "b.jsonl")
    trained.until_status("training", status_reason="forgetting b.jsonl: trained again up to step 1 of 3")

    trained.command("skip")
    skipped = trained.until_answered("skip")
    trained.command("pause", '{"reason": "lunch"}')
    paused = trained.until_answered("pause")
    trained.until_status("paused", status_reason="lunch; a file is forgotten after the pause")
    orders, first_answer = held.orders, answer_to(trained, "mine")
    trained.command("resume")

    answer = trained.until(lambda: answer_to(trained, "mine"), "the answer")
    assert skipped == (
        "no file is in training, so there is nothing to skip; "
        "forgetting b.jsonl: trained again up to step 1 of 3"
    )
    assert (paused, orders, first_answer) == ("paused", 1, None)
    assert "resume: training continues; a file is forgotten first" in trained.events("command")
    assert answer.startswith("the model went back to step 3, from before the file")
    assert held.orders == 2


def test_what_is_asked_for_during_a_pause_waits_for_its_end(trained, held):
    held.orders = 1  # it goes through
    trained.command("pause")
    trained.until_answered("pause")

    asked(trained, "b.jsonl")
    trained.until_status("paused", status_reason="a file is forgotten after the pause")
    before = answer_to(trained, "mine")
    trained.command("resume")

    answer = trained.until(lambda: answer_to(trained, "mine"), "the answer")
    assert before is None
    assert answer.startswith("the model went back to step 3, from before the file")


def test_a_file_that_is_half_trained_waits_for_the_end_of_a_pause(trained, held):
    trained.launcher.environment["FAKE_HOLD"] = "d.jsonl:1"
    trained.stop()
    trained.start()
    trained.drop("d.jsonl", 3)
    trained.until_training("d.jsonl")
    trained.command("pause")
    trained.until_answered("pause")

    asked(trained, "d.jsonl")

    trained.until_status("paused", status_reason="a file is forgotten after the pause")
    assert answer_to(trained, "mine") is None
    assert held.orders == 0


def test_a_stop_ends_what_a_pause_holds(trained, held):
    asked(trained, "b.jsonl")
    trained.until_status("training", status_reason="forgetting b.jsonl: trained again up to step 1 of 3")
    trained.command("pause")
    trained.until_answered("pause")

    trained.command("stop", "{}")

    assert trained.left() == 0
    assert answer_to(trained, "mine") == f"{NOT_FORGOTTEN}: the daemon stops; ask again once it runs"
    assert held.orders == 1
