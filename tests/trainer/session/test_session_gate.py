"""When a session judges, which jobs together, and what follows from a verdict. The model is a number."""

from functools import partial

import pytest

from tests.trainer.gate_rig import Judged, completed, ended, gated, ordered, verdicts
from tests.trainer.session_rig import LEAVE, Run, settings_with
from trainer.protocol.job import Outcome
from trainer.protocol.messages import (
    CheckpointPublished,
    GateJudged,
    JobPreempted,
    JobStarted,
    PreemptJob,
    QueueEmpty,
    SkipJob,
    StepsTaken,
    Validated,
)
from trainer.session.gate import NoWayBack
from trainer.session.gate_state import GateState, read_gate, write_gate


@pytest.fixture(autouse=True)
def whole_checkpoints(monkeypatch):
    monkeypatch.setattr("trainer.session.gate.verify", lambda path: None)


@pytest.fixture
def make(tmp_path):
    return partial(ordered, tmp_path)


def test_each_file_is_judged_against_what_the_model_was_before_it(make):
    settings, engine = gated(), Judged()

    run = Run([make("a", settings), make("b", settings), QueueEmpty(), LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["a"]), ("passed", ["b"])]
    assert engine.measured_at == [0, 2, 4]  # the state after a file is the one before the next
    assert [event.global_step for event in run.told(Validated)] == [0, 2, 4]
    assert completed(run) == ["a", "b"]
    assert engine.progress.cursors == {}
    assert engine.progress.gate_checkpoints == ()


def test_the_state_before_a_file_is_in_a_checkpoint_before_its_first_step(make):
    settings = gated()

    run = Run([make("a", settings), make("b", settings), LEAVE], engine=Judged())

    published = [event.checkpoint.step for event in run.told(CheckpointPublished)]
    assert published == [0, 2, 4]
    assert [event.verdict.checkpoint for event in run.told(GateJudged)] == [
        "step-000000000-1",
        "step-000000002-2",
    ]


def test_after_a_refused_file_nothing_more_is_trained(make):
    settings, engine = gated(), Judged(spoilt=[4])

    run = Run([make("a", settings), make("b", settings), make("c", settings), LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["a"]), ("refused", ["b"])]
    assert ended(run) == ["a"]
    assert completed(run) == ["a"]
    assert engine.progress.global_step == 4
    assert engine.saved_steps[-1] == 4  # so that it is an abandoned branch, and nothing that never was
    assert engine.saved[-1].gate_checkpoints == ("step-000000002-2",)  # retention keeps where it goes back to


def test_who_loads_the_checkpoint_of_a_refused_file_comes_to_the_same_verdict(make):
    settings, engine = gated(), Judged(spoilt=[2])
    first = Run([make("a", settings), LEAVE], engine=engine)

    again = Run([make("a", settings), LEAVE], engine=engine.after_a_crash())

    assert again.told(StepsTaken) == []
    assert [event.verdict.model_copy(update={"seconds": 0.0}) for event in again.told(GateJudged)] == [
        event.verdict.model_copy(update={"seconds": 0.0}) for event in first.told(GateJudged)
    ]


def test_small_files_are_judged_together_when_there_are_enough_of_them(make):
    settings, engine = gated(group_rows=12), Judged()

    run = Run([*(make(name, settings) for name in "abcd"), LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["a", "b", "c"])]
    assert ended(run) == ["a", "b", "c", "d"]
    assert completed(run) == ["a", "b", "c"]
    assert list(engine.saved[-1].cursors) == ["d"]  # it waits for its verdict, and is given again
    assert engine.measured_at == [0, 6]


def test_a_group_is_judged_when_the_queue_is_empty(make):
    settings = gated(group_rows=12)

    run = Run([make("a", settings), make("b", settings), QueueEmpty(), LEAVE], engine=Judged())

    assert verdicts(run) == [("passed", ["a", "b"])]
    assert completed(run) == ["a", "b"]


def test_a_large_file_is_judged_alone(make):
    settings = gated(group_rows=12)

    run = Run([make("a", settings), make("large", settings, steps=6), LEAVE], engine=Judged())

    assert verdicts(run) == [("passed", ["a"]), ("passed", ["large"])]


def test_a_file_that_waits_for_its_group_is_not_trained_again_after_a_crash(make):
    settings, engine = gated(group_rows=12), Judged()
    Run([make("a", settings), make("b", settings), LEAVE], engine=engine)

    again = Run(
        [make("a", settings), make("b", settings), make("c", settings), LEAVE], engine=engine.after_a_crash()
    )

    assert verdicts(again) == [("passed", ["a", "b", "c"])]
    assert [event.job_id for event in again.told(JobStarted) if event.first_step == 0] == ["c"]
    assert {step.job_id for step in again.steps} == {"c"}


def test_suspects_are_judged_one_by_one(make):
    settings, engine = gated(group_rows=12), Judged()
    engine.suspects = frozenset({"a", "b"})

    run = Run([*(make(name, settings) for name in "abc"), QueueEmpty(), LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["a"]), ("passed", ["b"]), ("passed", ["c"])]


def test_an_urgent_file_is_judged_by_itself_and_the_preempted_one_as_a_whole(make):
    settings, engine = gated(), Judged()
    low, urgent = make("low", settings, steps=4), make("urgent", settings)

    run = Run(
        [low, urgent, low, QueueEmpty(), LEAVE],
        between={2: [PreemptJob(job_id="low")]},
        engine=engine,
    )

    assert [event.job_id for event in run.told(JobPreempted)] == ["low"]
    judged = [
        (v.files[0].job_id, v.from_step, v.global_step) for v in (e.verdict for e in run.told(GateJudged))
    ]
    assert judged == [("urgent", 2, 4), ("low", 0, 6)]
    assert completed(run) == ["urgent", "low"]


def test_a_file_that_was_skipped_half_way_is_judged_at_once(make):
    settings = gated(group_rows=100)

    run = Run(
        [make("a", settings, steps=4), LEAVE], between={2: [SkipJob(job_id="a")]}, engine=Judged(spoilt=[2])
    )

    assert verdicts(run) == [("refused", ["a"])]


def test_what_somebody_admits_stays_and_later_files_are_compared_with_it(make):
    settings, engine = gated(), Judged(spoilt=[4])

    run = Run(
        [make("a", settings), make("b", settings, admitted=True), make("c", settings), LEAVE], engine=engine
    )

    assert verdicts(run) == [("passed", ["a"]), ("admitted", ["b"]), ("passed", ["c"])]
    assert completed(run) == ["a", "b", "c"]


@pytest.mark.parametrize("window, refused_at", [(0, None), (10, 2)])
def test_the_model_cannot_become_worse_in_small_steps(make, window, refused_at):
    settings = gated(window=window)

    drifting = Judged(loss_at=lambda step: 1.1**step)

    run = Run([*(make(name, settings, steps=1) for name in "abcd"), LEAVE], engine=drifting)

    refused = [e.verdict for e in run.told(GateJudged) if e.verdict.outcome == "refused"]
    assert [verdict.global_step for verdict in refused] == ([] if refused_at is None else [refused_at])
    assert all("the best of late" in verdict.reason for verdict in refused)


def test_other_validation_rows_cannot_be_compared(make):
    settings, engine = gated(), Judged()

    def change():
        engine.rows_id = "others"

    run = Run([make("a", settings), LEAVE], engine=engine, on_step=lambda bundle: change())

    [verdict] = [event.verdict for event in run.told(GateJudged)]
    assert (verdict.outcome, verdict.losses) == ("unjudged", ())
    assert "have changed" in verdict.reason
    assert completed(run) == ["a"]


def test_files_with_other_weights_to_be_judged_are_not_judged_together(make):
    settings = gated(group_rows=100)
    averaged = settings.training.model_copy(update={"average": "ema"})
    other = settings.model_copy(update={"training": averaged})

    run = Run(
        [make("a", settings), make("b", settings), make("c", other), QueueEmpty(), LEAVE], engine=Judged()
    )

    assert verdicts(run) == [("passed", ["a", "b"]), ("passed", ["c"])]


AVERAGED, LAST = "with the averaged weights, ", "with the last weights, "


def averaged(average_steps, **gate):
    """Return settings of which the fake engine asks nothing but how fast the average follows."""
    settings = gated(**gate)
    training = settings.training.model_copy(update={"average_steps": average_steps})
    return settings.model_copy(update={"training": training})


@pytest.mark.parametrize(
    "average, last, reasons",
    [
        ((3.0, 3.4), (1.0, 1.1), []),  # each is compared with its like, or the average would be much worse
        ((1.0, 1.1), (1.0, 5.0), [LAST]),  # a short file, which the average has hardly followed
        ((1.0, 5.0), (1.0, 1.0), [AVERAGED]),
        ((1.0, 5.0), (1.0, 9.0), [AVERAGED, LAST]),
    ],
)
def test_where_the_average_is_preferred_neither_it_nor_the_last_weights_may_be_worse(
    make, average, last, reasons
):
    settings = averaged(1, window=0)
    engine = Judged(loss_at=lambda step: average[step // 6], last_at=lambda step: last[step // 6])

    run = Run([make("first", settings, steps=4), make("a", settings), QueueEmpty(), LEAVE], engine=engine)

    _, verdict = [event.verdict for event in run.told(GateJudged)]
    assert verdict.outcome == ("refused" if reasons else "passed")
    assert [item.weights for item in verdict.losses] == ["average", "last"]
    for weights in (AVERAGED, LAST):
        assert (weights in verdict.reason) == (not reasons or weights in reasons)


@pytest.mark.parametrize("average_steps, outcome", [(1, "refused"), (2, "passed")])
def test_the_average_is_judged_when_it_has_taken_in_an_admitted_file(make, average_steps, outcome):
    settings = averaged(average_steps)
    of_each_second_step = {"average": (1.0, 1.0, 1.1, 3.0, 4.0, 4.8), "last": (1.0, 1.0, 5.0, 5.0, 5.0, 5.0)}
    average, last = (lambda step, losses=losses: losses[step // 2] for losses in of_each_second_step.values())
    bad = make("bad", settings, admitted=True)
    later = [make(name, settings) for name in ("x", "xx", "xxx")]

    run = Run([make("first", settings), bad, *later, LEAVE], engine=Judged(loss_at=average, last_at=last))

    assert [found for found, _ in verdicts(run)] == ["passed", "admitted", "passed", "passed", outcome]


def test_last_weights_cannot_become_worse_in_small_steps_behind_the_average(make):
    engine = Judged(loss_at=lambda step: 1.0, last_at=lambda step: 1.05**step)

    run = Run([*(make(name, gated()) for name in "ab"), LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["a"]), ("refused", ["b"])]
    assert LAST in run.told(GateJudged)[-1].verdict.reason


def test_files_whose_average_began_meanwhile_are_judged_by_the_last_weights(make):
    settings, engine = gated(), Judged(spoilt=[2])

    def begin_average(bundle):
        engine.last_at = engine.loss_at
        engine.loss_at = lambda step: 1.0
        engine.rows_id = "rows:average"

    run = Run([make("a", settings, steps=1), LEAVE], engine=engine, on_step=begin_average)

    assert [event.verdict.losses[0].weights for event in run.told(GateJudged)] == ["last"]


def test_where_two_kinds_of_weights_are_measured_twice_as_many_rows_are_judged_together(make):
    settings = gated(group_rows=None)
    settings = settings.model_copy(
        update={"monitoring": settings.monitoring.model_copy(update={"max_overhead_percent": 50})}
    )  # 10 rows that take a third as long as those of a step: 4 rows of a file
    files = [make(name, settings, steps=1) for name in "abcde"]

    alone = Run([*files, LEAVE], engine=Judged())
    averaged = Run([*files, LEAVE], engine=Judged(last_at=lambda step: 1.0))

    assert verdicts(alone) == [("passed", ["a", "b"]), ("passed", ["c", "d"])]
    assert verdicts(averaged) == [("passed", ["a", "b", "c", "d"])]


def test_files_are_done_when_the_gate_is_turned_off(make):
    settings, engine = gated(group_rows=100), Judged()
    Run([make("a", settings), LEAVE], engine=engine)

    off = settings_with(validation={"file": "v.jsonl"})
    run = Run([make("a", off), LEAVE], engine=engine.after_a_crash())

    assert verdicts(run) == [("unjudged", ["a"])]
    assert completed(run) == ["a"]


def test_without_a_way_back_training_is_blocked(make, monkeypatch):
    def damaged(path):
        from trainer.protocol.checkpoints import DamagedCheckpoint

        raise DamagedCheckpoint("model.safetensors is missing")

    monkeypatch.setattr("trainer.session.gate.verify", damaged)
    settings = gated()

    with pytest.raises(
        NoWayBack, match=r"cannot go back to checkpoint step-0+-1: model.safetensors is missing"
    ):
        Run([make("a", settings), LEAVE], engine=Judged(spoilt=[2]))


def test_without_memory_for_its_rows_a_file_is_trained_without_a_verdict(make):
    class Small(Judged):
        def measure(self, settings, *, global_step):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")

        def free_memory(self):
            pass

    run = Run([make("a", gated()), LEAVE], engine=Small())

    assert verdicts(run) == []
    assert completed(run) == ["a"]


def test_without_a_gate_nothing_is_measured_or_saved_for_it(make):
    engine = Judged()

    run = Run([make("a", settings_with()), QueueEmpty(), LEAVE], engine=engine)

    assert engine.measured_at == []
    assert engine.saved_steps == [2]
    assert engine.gate_state == GateState()
    assert run.told(GateJudged) == []


def test_what_the_gate_remembers_comes_back_from_a_checkpoint(make, tmp_path):
    settings, engine = gated(group_rows=100), Judged()
    Run([make("a", settings), LEAVE], engine=engine)

    write_gate(tmp_path, engine.gate_state)

    assert read_gate(tmp_path) == engine.gate_state
    assert engine.gate_state.groups[0].members["a"].record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("content", ["", "{", "[]", '{"groups": 7}'])
def test_what_cannot_be_understood_is_as_nothing(tmp_path, content):
    (tmp_path / "gate.json").write_text(content)

    assert read_gate(tmp_path) == GateState()
