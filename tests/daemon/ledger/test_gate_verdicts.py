"""The verdicts of the gate in the ledger: kept with their branch, replaced when they come again."""

import sqlite3

from daemon.ledger.gate_verdicts import read_verdicts
from tests.daemon.ledger.entries import step
from trainer.protocol.gate import GateVerdict, JudgedFile


def verdict(until, *jobs, outcome="passed", since=0):
    return GateVerdict(
        outcome=outcome,
        reason="as it should be",
        from_step=since,
        global_step=until,
        checkpoint=f"step-{since:09}",
        files=tuple(JudgedFile(job_id=job, name=f"{job}.jsonl") for job in jobs),
    )


def read(ledger, layout, **which):
    ledger.commit()
    return [
        (found.branch, found.global_step, found.outcome)
        for found in read_verdicts(layout.ledger_file, **{"limit": 9} | which)
    ]


def test_the_newest_verdicts_come_first(ledger, layout):
    for until in (3, 6, 9):
        ledger.gate_verdicts.add(verdict(until, "a", since=until - 3), branch=0)
    ledger.gate_verdicts.add(verdict(7, "b", since=6), branch=1)

    assert read(ledger, layout) == [(1, 7, "passed"), (0, 9, "passed"), (0, 6, "passed"), (0, 3, "passed")]
    assert read(ledger, layout, limit=1) == [(1, 7, "passed")]


def test_those_on_one_job_are_found_also_where_it_was_judged_with_others(ledger, layout):
    ledger.gate_verdicts.add(verdict(3, "a", "b"), branch=0)
    ledger.gate_verdicts.add(verdict(6, "c", since=3), branch=0)

    assert read(ledger, layout, job_id="b") == [(0, 3, "passed")]
    assert read(ledger, layout, job_id="x") == []


def test_a_verdict_that_comes_again_replaces_the_first(ledger, layout):
    ledger.gate_verdicts.add(verdict(3, "a"), branch=0)
    ledger.gate_verdicts.add(verdict(3, "a", outcome="refused"), branch=0)

    assert read(ledger, layout) == [(0, 3, "refused")]


def test_verdicts_on_steps_that_were_lost_in_a_crash_are_forgotten(ledger, layout):
    ledger.add_steps([step(1), step(2), step(3)])
    ledger.gate_verdicts.add(verdict(2, "a"), branch=0)
    ledger.gate_verdicts.add(verdict(3, "a", since=2), branch=0)

    ledger.rewind(2)

    assert read(ledger, layout) == [(0, 2, "passed")]


def test_a_ledger_of_an_earlier_release_has_none(layout):
    sqlite3.connect(layout.ledger_file).execute("CREATE TABLE jobs (id TEXT)").connection.close()

    assert read_verdicts(layout.ledger_file, limit=9) == []


def test_without_a_ledger_there_are_none(tmp_path):
    assert read_verdicts(tmp_path / "ledger.sqlite3", limit=9) == []
