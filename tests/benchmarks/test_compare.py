"""Two commits are told apart beyond the noise of their turns, and not within it."""

import subprocess
import sys

import pytest

from scripts.benchmarks.compare import ROOT, ratio_of

NOISE = (1.02, 0.97, 1.01, 0.99, 1.03, 0.98, 1.0, 1.02, 0.99, 1.01, 0.98, 1.0)


@pytest.mark.parametrize(
    "factor, slower, faster",
    [(1.0, False, False), (1.005, False, False), (1.1, True, False), (0.9, False, True)],
)
def test_a_difference_counts_beyond_the_noise(factor, slower, faster):
    base = [3.0 * drift for drift in NOISE]
    head = [3.0 * factor * drift for drift in reversed(NOISE)]

    ratio = ratio_of(base, head)

    assert ratio.value == pytest.approx(factor)
    assert (ratio.is_slower, ratio.high < 1) == (slower, faster)


def test_a_steady_difference_of_less_than_a_percent_is_no_reason_to_fail():
    ratio = ratio_of(NOISE, [1.008 * seconds for seconds in NOISE])

    assert ratio.low > 1
    assert not ratio.is_slower


def test_what_drifts_during_the_turns_meets_both_alike():
    drifting = [1.0 + turn for turn in range(12)]

    assert ratio_of(drifting, [1.05 * seconds for seconds in drifting]).is_slower


def test_a_commit_that_is_not_there_is_named():
    command = [sys.executable, "-m", "scripts.benchmarks.compare", "no-such-commit"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert "no-such-commit" in done.stderr
    assert "give a commit of this checkout" in done.stderr
