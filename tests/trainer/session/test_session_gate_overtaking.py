"""What the gate makes of files that are trained in the middle of another, and of steps without a verdict.

The model is a number. `low` begins at step 2, has four steps, and is overtaken after two of them.
"""

from functools import partial

import pytest

from tests.trainer.gate_rig import Judged, gated, ordered, verdicts
from tests.trainer.session_rig import LEAVE, Run, settings_with
from trainer.protocol.messages import ForgetJobs, GateJudged, PreemptJob, QueueEmpty


@pytest.fixture(autouse=True)
def whole_checkpoints(monkeypatch):
    monkeypatch.setattr("trainer.session.gate.verify", lambda path: None)


@pytest.fixture
def make(tmp_path):
    return partial(ordered, tmp_path)


def overtaken():
    """Return the command that comes between steps, after a number of them."""
    return {4: [PreemptJob(job_id="low")]}


def losses(*of_each_second_step):
    """Return step -> loss, from the losses at steps 0, 2, 4 and so on."""
    return lambda step: of_each_second_step[step // 2]


def test_a_good_file_in_the_middle_of_a_bad_one_is_compared_with_the_state_right_before_it(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 5.0, 4.0, 5.0))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)

    run = Run([first, low, urgent, low, LEAVE], between=overtaken(), engine=engine)

    assert verdicts(run) == [("passed", ["first"]), ("passed", ["urgent"]), ("refused", ["low"])]
    [compared] = run.told(GateJudged)[1].verdict.losses
    assert (compared.against, compared.global_step) == ("before", 4)


def test_the_average_that_still_follows_a_bad_file_is_no_fault_of_the_one_that_overtakes_it(make):
    average, last = losses(1.0, 1.0, 1.5, 3.0, 4.0), losses(1.0, 1.0, 5.0, 4.0, 5.0)
    settings, engine = gated(), Judged(loss_at=average, last_at=last)
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)

    run = Run([first, low, urgent, low, LEAVE], between=overtaken(), engine=engine)

    assert verdicts(run) == [("passed", ["first"]), ("passed", ["urgent"]), ("refused", ["low"])]


def test_a_bad_file_in_the_middle_of_a_bad_one_is_refused(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 5.0, 9.0))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)

    run = Run([first, low, urgent, low, LEAVE], between=overtaken(), engine=engine)

    assert verdicts(run) == [("passed", ["first"]), ("refused", ["urgent"])]
    assert "went from 5.0450 to 9.0450" in run.told(GateJudged)[-1].verdict.reason


def test_many_files_in_the_middle_of_one_cannot_make_the_model_worse_in_small_steps(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 5.0, 5.5, 6.0, 6.0))
    first, low = make("first", settings), make("low", settings, steps=4)

    run = Run(
        [first, low, make("u", settings), make("ur", settings), LEAVE], between=overtaken(), engine=engine
    )

    assert verdicts(run) == [("passed", ["first"]), ("passed", ["u"]), ("refused", ["ur"])]
    assert "since step 4, the best of late" in run.told(GateJudged)[-1].verdict.reason


def test_after_the_file_that_was_overtaken_the_best_of_late_is_what_it_was(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 1.05, 1.05, 1.1, 1.2))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)

    run = Run([first, low, urgent, low, make("last", settings), LEAVE], between=overtaken(), engine=engine)

    assert verdicts(run)[2:] == [("passed", ["low"]), ("refused", ["last"])]
    assert "since step 0, the best of late" in run.told(GateJudged)[-1].verdict.reason


def test_small_files_are_judged_before_the_one_that_they_overtook_continues(make):
    settings, engine = gated(group_rows=100), Judged(loss_at=losses(1.0, 1.0, 1.0, 1.0, 5.0))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)

    run = Run([first, low, urgent, low, QueueEmpty(), LEAVE], between=overtaken(), engine=engine)

    assert verdicts(run) == [("passed", ["urgent"]), ("refused", ["first", "low"])]
    assert [event.verdict.global_step for event in run.told(GateJudged)] == [6, 8]


def found_in(run):
    judged = [event.verdict for event in run.told(GateJudged)]
    return [(verdict.outcome, verdict.reason, verdict.losses) for verdict in judged]


@pytest.mark.parametrize("group_rows", [1, 100])
def test_a_kill_changes_no_verdict(make, group_rows):
    settings, engine = gated(group_rows=group_rows), Judged(loss_at=losses(1.0, 1.0, 5.0, 4.0, 5.0))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)
    whole = Run([first, low, urgent, low, QueueEmpty(), LEAVE], between=overtaken(), engine=engine)

    for number, saved in enumerate(engine.saved):
        waiting = [urgent, low] if "low" in saved.cursors else [low, urgent, low]
        done = {record.job_id for record in saved.finished}
        orders = [order for order in (first, *waiting) if order.job.id not in done]
        between = {} if "low" in saved.cursors else overtaken()
        again = Run(
            [*orders, QueueEmpty(), LEAVE], between=between, engine=engine.after_a_crash(number=number)
        )

        found = found_in(again)
        assert found == found_in(whole)[-len(found) :]
        assert again.engine.progress.global_step == 8


def test_what_a_file_did_that_was_skipped_while_it_waited_is_no_fault_of_later_ones(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 5.0, 5.0, 5.0))
    first, low, urgent = make("first", settings), make("low", settings, steps=4), make("urgent", settings)
    orders = [first, low, urgent, ForgetJobs(job_ids=("low",)), make("later", settings), LEAVE]

    run = Run(orders, between=overtaken(), engine=engine)

    assert verdicts(run) == [("passed", ["first"]), ("passed", ["urgent"]), ("passed", ["later"])]


def test_what_files_did_while_the_gate_was_off_is_no_fault_of_later_ones(make):
    settings, engine = gated(), Judged(loss_at=losses(1.0, 1.0, 5.0, 5.0, 6.0))
    off = settings_with(validation={"file": "v.jsonl"})
    later = [make("later", settings), make("latest", settings)]

    run = Run([make("first", settings), make("free", off), *later, LEAVE], engine=engine)

    assert verdicts(run) == [("passed", ["first"]), ("passed", ["later"]), ("refused", ["latest"])]
