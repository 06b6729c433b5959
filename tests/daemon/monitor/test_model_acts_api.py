"""The page Models: plans before acts, acts that take long, and what is refused."""

import pytest

from daemon.client import Client
from daemon.client import compare as comparing
from tests.daemon.client.eventful import Life
from tests.daemon.monitor.conftest import wait_for
from tests.support import rows, write_jsonl
from trainer.protocol.comparison import Compared, LossDifference

LOSS = LossDifference(rows=4, left_out=0, before=3.0, after=2.0, difference=-1.0, low=-2.0, high=0.5, t=-1.2)


@pytest.fixture
def trained(layout):
    """A model that was trained on a.jsonl and b.jsonl, two steps each, with a version after each."""
    life = Life(layout)
    for number, name in enumerate(("a.jsonl", "b.jsonl"), 1):
        life.train(name, 2)
        life.publish(number)
        life.ledger.commit()
        Client(layout.base).models.create()
    life.close()
    return layout


@pytest.mark.parametrize("target", [{"version": "v001"}, {"file": "b.jsonl"}, {"steps": 2}])
def test_the_plan_to_go_back_is_that_of_the_command(ask, trained, target):
    [(to, name)] = target.items()
    plan = ask.get("/api/models/rollback-plan", params={"to": to, "target": name}).json()

    assert (plan["current_step"], plan["target_step"]) == (4, 2)
    assert [(file["name"], file["fate"]) for file in plan["files"]] == [("b.jsonl", "undone")]


@pytest.mark.parametrize(
    "asked, said",
    [
        ({}, "the parameter 'to' is missing"),
        ({"to": "heaven", "target": "x"}, "to is 'heaven'"),
        ({"to": "version", "target": "v001", "without": "b.jsonl"}, "without needs requeue"),
        ({"to": "steps", "target": "0"}, "target is '0'; expected a number of steps above 0"),
        ({"to": "steps", "target": "x"}, "target is 'x'; expected a number of steps above 0"),
    ],
)
def test_a_target_must_be_one(ask, trained, asked, said):
    answer = ask.get("/api/models/rollback-plan", params=asked)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


@pytest.mark.parametrize("target", [{}, {"version": "v001", "steps": 1}])
def test_the_model_goes_to_one_place(ask, trained, target):
    answer = ask.post("/api/models/rollback", json=target | {"target": "versions/v001"})

    assert (answer.status_code, answer.json()["error"]) == (400, "expected one of version, file and steps")


def test_the_model_goes_nowhere_else_than_the_plan_said(ask, trained):
    answer = ask.post("/api/models/rollback", json={"version": "v001", "target": "versions/v002"})

    assert answer.status_code == 422
    assert "look at the plan again" in answer.json()["error"]
    assert ask.get("/api/tasks").json() == []


def test_going_back_is_an_act_with_a_state_and_an_answer(ask, trained, monkeypatch):
    carried_out = []

    def carry_out(self, plan, *, reason, requeue):
        carried_out.append((plan.target, requeue.is_wanted, tuple(requeue.without)))
        return "the model went from step 4 to step 2"

    monkeypatch.setattr("daemon.client.rollback.Rollbacks.carry_out", carry_out)
    body = {"version": "v001", "target": "versions/v001", "requeue": True, "without": ["b.jsonl"]}

    done = wait_for(ask, ask.post("/api/models/rollback", json=body).json())

    assert carried_out == [("versions/v001", True, ("b.jsonl",))]
    assert (done["state"], done["result"]["said"]) == ("done", "the model went from step 4 to step 2")
    assert done["result"]["plan"]["target_step"] == 2


def test_a_file_is_forgotten_only_after_its_name_was_typed(ask, trained, monkeypatch):
    forgotten = []

    def carry_out(self, plan, *, reason, keep_versions, on_progress):
        on_progress("trained again up to step 2")
        forgotten.append((plan.names, keep_versions))
        return "the model forgot b.jsonl"

    monkeypatch.setattr("daemon.client.forget.Forgets.carry_out", carry_out)
    plan = ask.get("/api/models/forget-plan", params={"file": "b.jsonl"}).json()
    assert (plan["first_step"], plan["current_step"]) == (3, 4)

    wrong = ask.post("/api/models/forget", json={"file": plan["sha256"], "typed": "a.jsonl"})
    assert (wrong.status_code, forgotten) == (400, [])
    right = ask.post("/api/models/forget", json={"file": plan["sha256"], "typed": " b.jsonl "})
    done = wait_for(ask, right.json())

    assert forgotten == [(("b.jsonl",), False)]
    assert (done["result"]["said"], done["progress"]) == (
        "the model forgot b.jsonl",
        "trained again up to step 2",
    )


def test_a_file_that_nobody_knows_cannot_be_forgotten(ask, trained):
    answer = ask.get("/api/models/forget-plan", params={"file": "z.jsonl"})

    assert answer.status_code == 422
    assert "z.jsonl" in answer.json()["error"]


def test_a_version_is_made_in_a_process_of_its_own(ask, layout):
    life = Life(layout)
    life.train("a.jsonl", 2)
    life.publish(1)
    life.close()

    done = wait_for(ask, ask.post("/api/models/versions", json={"note": "mine"}).json())

    assert (done["state"], done["result"]["id"]) == ("done", "v001")
    [line] = Client(layout.base).models.versions()
    assert (line.made_by, line.notes) == ("hand", ("mine",))


def test_why_no_version_was_made_is_said(ask, layout):
    done = wait_for(ask, ask.post("/api/models/versions", json={"checkpoint": "step-9"}).json())

    assert done["state"] == "failed"
    assert "has no checkpoint yet" in done["problem"]


def test_two_versions_are_compared_on_the_same_rows(ask, trained, monkeypatch):
    orders = []

    def answering(module, order, answer_type, *, on_start, on_progress):
        orders.append(order)
        on_progress("row 4 of 4")
        return Compared(device="cpu", loss=LOSS, answers=())

    monkeypatch.setattr(comparing, "ask", answering)
    write_jsonl(trained.base / "rows.jsonl", rows(3))
    trained.config_file.write_text('{"validation": {"file": "rows.jsonl"}}')

    task = ask.post("/api/models/comparisons", json={"before": "v001", "after": "current", "rows": 2}).json()
    done = wait_for(ask, task)

    assert task["about"] == {"before": "v001", "after": "v002", "rows": 2}
    assert orders[0].settings["validation"]["max_rows"] == 2
    assert done["result"]["measured"]["loss"]["high"] == 0.5
    assert done["is_cancellable"]
    assert [item["result"] for item in ask.get("/api/tasks").json()] == [None]


def test_where_nobody_has_said_where_backups_go_there_are_none(ask, trained):
    assert ask.get("/api/models/backups").json() is None


def test_only_what_was_agreed_to_is_removed(ask, trained, monkeypatch):
    from trainer.protocol.disk import Act, CleaningPlan

    acts = tuple(Act(kind="token_cache", path=f"models/cache/{name}", frees_bytes=1) for name in "ab")
    plan = CleaningPlan(acts=acts, left=(), free_bytes=0, wanted_bytes=None, is_done=False)
    monkeypatch.setattr("daemon.client.disk.Disk.plan", lambda self, *, wanted_bytes: plan)
    monkeypatch.setattr("daemon.client.disk.Disk.carry_out", lambda self, plan: plan)

    shown = ask.get("/api/models/disk-plan", params={"everything": True}).json()
    body = {"everything": True, "paths": ["models/cache/b", "models/versions/v001"]}
    done = wait_for(ask, ask.post("/api/models/disk", json=body).json())

    assert shown["frees_bytes"] == 2
    assert [act["path"] for act in done["result"]["acts"]] == ["models/cache/b"]


def test_an_unknown_task_is_none(ask):
    assert ask.get("/api/tasks/x").status_code == 404
    assert ask.post("/api/tasks/x/cancel").status_code == 404
