"""Made trainings with one illness each: its detector finds it, and no other one finds anything."""

import math

import pytest

from daemon.client import Client
from daemon.diagnosis.findings import Illness
from tests.daemon.diagnosis.made_runs import MadeRun

SEEDS = range(3)


def spikes(run):
    losses = run.falling(1500)
    for place in (700, 900, 1100, 1300):
        losses[place] *= 4
        losses[place + 1] *= 2
    run.train(run.file(), losses)


def spikes_of_the_gradient(run):
    losses = run.falling(1200)
    norms = run.norms(losses)
    for place in range(300, 1200, 150):
        norms[place] *= 30
    run.train(run.file(), losses, norms=norms)


def too_high_from_the_start(run):
    """It leaps up within a few steps and stays there."""
    losses = [run.noisy(6.0, 0.02) for _ in range(5)] + [run.noisy(9.0, 0.15) for _ in range(300)]
    run.train(run.file(), losses, norms=[run.noisy(40.0, 0.5) for _ in losses])


def too_high_after_a_while(run):
    losses = run.falling(300, floor=1.0) + [run.noisy(1.0 + number / 150, 0.1) for number in range(300)]
    run.train(run.file(), losses, norms=[run.noisy(8.0, 0.4) for _ in losses])


def too_high_so_that_it_swings(run):
    losses = [run.noisy(2.0 + 0.8 * math.sin(number / 6), 0.05) for number in range(600)]
    run.train(run.file(), losses, norms=[run.noisy(8.0, 0.4) for _ in losses])


def too_low(run):
    losses = [run.noisy(3.0 - 0.2 * number / 1000, 0.01) for number in range(1000)]
    run.train(run.file(), losses, norms=[run.noisy(2.0, 0.2) for _ in losses])


def overfitting(run):
    run.sections["training"]["epochs"] = 20
    job = run.file(rows=50 * 8)
    losses = [run.noisy(2.0 * math.exp(-number / 400), 0.08) for number in range(1000)]

    def validate(number):
        if number % 50 == 49:
            known = number / 1000
            run.validate(2.0 - 1.2 * known if known < 0.4 else 1.52 + 1.5 * (known - 0.4))

    run.train(job, losses, each=validate)


def plateau_of_passes(run):
    run.sections["training"]["epochs"] = 8
    job = run.file(rows=50 * 8)
    rows = [run.noisy(1.0, 0.05) for _ in range(50)]  # the same in each pass, in another order
    passes = [row for _ in range(8) for row in run.random.sample(rows, 50)]
    run.train(job, [1.4 * row + 0.6 * math.exp(-number / 30) for number, row in enumerate(passes)])


def plateau_at_a_high_loss(run):
    run.train(run.file(), run.falling(1600, start=8.0, floor=5.5, tau=40, sigma=0.05))


def slow_input(run):
    run.train(run.file(), run.falling(600), waits=0.6)


def slow_input_in_bursts(run):
    job, losses = run.file(), run.falling(600)
    for first in range(0, 600, 20):
        run.train(job, losses[first : first + 16], total=600)
        run.train(job, losses[first + 16 : first + 20], waits=3.0, total=600)


def repeated_rows_in_a_file(run):
    run.train(run.file(rows=9600, duplicate_rows=4000), run.falling(1200))


def repeated_files(run):
    for _ in range(3):
        run.train(run.file(rows=3200, content=7), run.falling(400, first=run.step))


def short_answers_to_previews(run):
    def preview(number):
        if number % 100 == 99:
            run.preview(length=95 if number < 600 else 40)

    run.train(run.file(), run.falling(1200), each=preview)


def short_answers_to_a_suite(run):
    def score(number):
        if number % 100 == 99:
            run.score(length_percent=run.noisy(95 - 60 * number / 1200, 0.03))

    run.train(run.file(), run.falling(1200), each=score)


def cut_answers(run):
    def preview(number):
        if number % 100 == 99:
            run.preview(length=60, cut=0.9)

    run.train(run.file(), run.falling(1200), each=preview)


def answers_that_stop_thinking(run):
    def preview(number):
        if number % 100 == 99:
            run.preview(thinks=0.9 if number < 600 else 0.1)

    run.train(run.file(think_tag_percent=90.0), run.falling(1200), each=preview)


def answers_that_begin_to_think(run):
    def score(number):
        if number % 100 == 99:
            run.score(think_tag_percent=0.0 if number < 500 else 70.0)

    run.train(run.file(think_tag_percent=0.0), run.falling(1200), each=score)


MADE = [
    (spikes, Illness.SPIKES),
    (spikes_of_the_gradient, Illness.SPIKES),
    (too_high_from_the_start, Illness.RATE_TOO_HIGH),
    (too_high_after_a_while, Illness.RATE_TOO_HIGH),
    (too_high_so_that_it_swings, Illness.RATE_TOO_HIGH),
    (too_low, Illness.RATE_TOO_LOW),
    (overfitting, Illness.OVERFITTING),
    (plateau_of_passes, Illness.PLATEAU),
    (plateau_at_a_high_loss, Illness.PLATEAU),
    (slow_input, Illness.SLOW_INPUT),
    (slow_input_in_bursts, Illness.SLOW_INPUT),
    (repeated_rows_in_a_file, Illness.REPEATED_ROWS),
    (repeated_files, Illness.REPEATED_ROWS),
    (short_answers_to_previews, Illness.SHORT_ANSWERS),
    (short_answers_to_a_suite, Illness.SHORT_ANSWERS),
    (cut_answers, Illness.SHORT_ANSWERS),
    (answers_that_stop_thinking, Illness.THINK_TAG_DRIFT),
    (answers_that_begin_to_think, Illness.THINK_TAG_DRIFT),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make, illness", MADE, ids=[make.__name__ for make, _ in MADE])
def test_an_illness_is_found_and_no_other_one(layout, make, illness, seed):
    run = MadeRun(layout, seed, training={"warmup_steps": 10}, validation={"file": "v.jsonl"})
    make(run)
    run.end()

    [finding] = Client(layout.base).health.diagnose().findings

    assert finding.illness == illness
    assert len(finding.series.points) >= 3 or illness is Illness.REPEATED_ROWS
    assert finding.evidence
    assert finding.costs
    assert finding.changes
    assert all(bool(change.setting) != bool(change.command) for change in finding.changes)


def test_every_illness_is_made():
    assert {illness for _, illness in MADE} == set(Illness)
