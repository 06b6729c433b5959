"""The adapter is merged on request: the worker leaves first, and training continues afterwards."""

import json
import threading

import pytest

from daemon import consolidating
from tests.health import publish
from trainer.protocol.job import FaultKind, Outcome
from trainer.protocol.manifest import Consolidation
from trainer.protocol.one_shot import OrderRefused
from trainer.versions.consolidation import Consolidated

DONE = Consolidated(
    checkpoint="step-000000003-2",
    consolidation=Consolidation(
        at="2026-01-01T00:00:00.000Z",
        global_step=3,
        base="bases/step-000000003-0123456789ab",
        base_sha256="0" * 64,
        merged="step-000000003-1",
        kept_as="v001",
        max_difference=6e-6,
    ),
    rows=64,
    answers=8,
    loss_before=None,
    loss_after=None,
)
LORA = {"training": {"method": "lora"}}


class Process:
    """Stands in for the process that merges; it waits if it is to."""

    def __init__(self, answer=DONE):
        self.answer = answer
        self.may_end = threading.Event()
        self.may_end.set()
        self.orders = []

    def ask(self, module, order, answer_type, *, on_progress):
        self.orders.append(order)
        on_progress("merging\x1b[2J")
        self.may_end.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def process(monkeypatch):
    process = Process()
    monkeypatch.setattr(consolidating.one_shot, "ask", process.ask)
    return process


@pytest.fixture
def trained(rig, process):
    """A daemon that trains adapters and has trained a.jsonl."""
    rig.configure(**LORA)
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    publish(rig.layout, 1, step=3, method="lora")
    return rig


def consolidate(rig):
    rig.command("consolidate")
    return rig.until_answered("consolidate")


def test_it_is_done_while_no_worker_runs_and_then_recorded(trained, process):
    answer = consolidate(trained)

    assert answer == (
        "the adapter of step 3 was merged into models/bases/step-000000003-0123456789ab; logits of 64 rows "
        "differ by 6e-06 at most, and 8 answers are the same; the state before is v001"
    )
    [order] = process.orders
    assert order.checkpoint == "step-000000003-1"
    assert [(file.name, file.first_step, file.last_step) for file in order.trained] == [("a.jsonl", 1, 3)]
    assert order.settings["training"]["method"] == "lora"
    assert trained.launcher.launched[0].poll() == 0
    [event] = trained.events("consolidated")
    assert event.endswith("the state before is v001")


def test_a_worker_that_trains_saves_and_leaves_first_and_training_continues(rig, process):
    rig.launcher.environment["FAKE_HOLD"] = "b.jsonl:2"
    process.may_end.clear()
    rig.configure(**LORA)
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    merged = DONE.consolidation  # at this very step, but the worker is further
    publish(rig.layout, 1, step=3, method="lora", consolidations=(merged,))
    rig.drop("b.jsonl")
    rig.until_training("b.jsonl")
    publish(rig.layout, 2, step=5, method="lora", consolidations=(merged,))

    rig.command("consolidate")
    rig.go()
    rig.until_status("loading", status_reason="merging the adapter: merging\\x1b[2J")
    assert [launched.poll() for launched in rig.launcher.launched] == [0]
    process.may_end.set()

    assert rig.until_answered("consolidate").startswith("the adapter of step 3 was merged")
    rig.until_in(Outcome.COMPLETED, "b.jsonl")


def test_what_was_merged_at_this_very_step_is_refused_at_once(trained, process):
    publish(trained.layout, 2, step=3, method="lora", consolidations=(DONE.consolidation,))

    assert "nothing was trained since the adapter was last merged, at step 3" in consolidate(trained)
    assert process.orders == []


@pytest.mark.parametrize(
    "error",
    [
        OrderRefused("the logits of the merged model differ\x1b[2J", FaultKind.BAD_CONFIG),
        OSError(28, "No space left on device"),
        KeyError("a mistake of ours"),
    ],
)
def test_if_it_fails_that_is_said_and_training_continues(trained, process, error):
    process.answer = error

    answer = consolidate(trained)

    assert answer.startswith("the adapter was not merged: ")
    assert answer.isprintable()
    trained.drop("b.jsonl")
    trained.until_in(Outcome.COMPLETED, "b.jsonl")
    assert trained.events("consolidated") == []


def test_it_can_be_asked_for_again(trained, process):
    process.answer = OSError(28, "No space left on device")
    consolidate(trained)
    process.answer = DONE

    trained.command("consolidate", '{"id": "again"}')

    shown = trained.until(lambda: (a := trained.status()["last_command"])["id"] == "again" and a, "answer")
    assert shown["result"].startswith("the adapter of step 3 was merged")


def test_a_model_without_an_adapter_is_refused_at_once(rig, process):
    rig.start()
    rig.drop("a.jsonl")
    rig.until_in(Outcome.COMPLETED, "a.jsonl")
    publish(rig.layout, 1, step=3)

    assert "the weights themselves are trained, so there is no adapter to merge" in consolidate(rig)
    assert process.orders == []


def test_without_a_checkpoint_there_is_nothing_to_merge(rig, process):
    rig.configure(**LORA)
    rig.start()

    assert consolidate(rig) == (
        "the adapter was not merged: there is no checkpoint yet, so there is no adapter to merge"
    )


def test_a_stop_at_once_does_not_wait_for_it(trained, process):
    process.may_end.clear()
    trained.command("consolidate")
    trained.until(lambda: process.orders, "the order")

    trained.command("stop", '{"now": true}')

    assert trained.left() == 0
    process.may_end.set()
    answers = [
        json.loads(row["data"]) for row in trained.read("SELECT data FROM events WHERE kind = 'command'")
    ]
    [answer] = [data for data in answers if data["name"] == "consolidate"]
    assert answer["result"] == "the adapter was not merged: the daemon stops; ask again once it runs"
