"""Slow input: the worker waits for rows instead of computing."""

from collections.abc import Sequence

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations
from daemon.ledger.step_records import RecordedStep

RECENT_STEPS = 1_000
LEAST_STEPS = 100
FIRST_STEPS = 3  # of a file, whose rows nobody could render ahead
SHARE = 0.2  # of the time: less is not worth a person's time
STEP_WAITS = 0.1  # of a step's own time
LEAST_WAITING = 0.05  # of the steps: one long wait is an accident, such as a disk that slept
MOST_WAITING = 0.5  # of the steps: above, rows are rendered too slowly; below, they come in bursts


def find_slow_input(observed: Observations) -> Result:
    """Add up what the newest steps waited for their rows, and what they computed."""
    steps = [
        step
        for step in observed.steps[-RECENT_STEPS:]
        if step.waited_s is not None and step.file_step > FIRST_STEPS
    ]
    if len(steps) < LEAST_STEPS:
        return TooLittle(missing=f"fewer than {LEAST_STEPS} steps say how long they waited for rows")
    waited = sum(_waited(step) for step in steps)
    share = waited / ((waited + sum(step.seconds for step in steps)) or 1.0)
    waiting = sum(_waited(step) > STEP_WAITS * step.seconds for step in steps) / len(steps)
    if share < SHARE or waiting < LEAST_WAITING:
        return Nothing(read=f"the time of {len(steps):,} steps")
    return _finding(observed, steps, share, waiting)


def _waited(step: RecordedStep) -> float:
    return step.waited_s or 0.0


def _finding(observed: Observations, steps: Sequence[RecordedStep], share: float, waiting: float) -> Finding:
    waited = sum(_waited(step) for step in steps)
    tokens, computed = sum(step.tokens for step in steps), sum(step.seconds for step in steps)
    points = [
        (step.global_step, 100 * _waited(step) / ((_waited(step) + step.seconds) or 1.0)) for step in steps
    ]
    return Finding(
        illness=Illness.SLOW_INPUT,
        seen=f"the worker waits for rows for {share:.0%} of the time, in {waiting:.0%} of the steps",
        evidence=(
            Measure(what="time spent waiting for rows", value=100 * share, unit="percent"),
            Measure(what="steps that wait", value=100 * waiting, unit="percent"),
            Measure(what="speed", value=tokens / (waited + computed), unit="tokens/s"),
        ),
        series=series_of("time spent waiting for rows", "percent", points),
        costs=(
            f"{waited:,.0f} of {waited + computed:,.0f} s in {len(steps):,} steps; without it, training "
            f"would be {1 / (1 - share):.2g} times as fast"
        ),
        cost=Measure(what="possible speed", value=tokens / computed if computed else 0.0, unit="tokens/s"),
        changes=_changes(observed, steps[-1].job_id, waiting),
    )


def _changes(observed: Observations, job_id: str, waiting: float) -> tuple[Change, ...]:
    if waiting < MOST_WAITING:
        ahead = observed.trained_with(job_id, "data", "prefetch_steps")
        return (
            Change(
                text="renders more steps ahead, which bridges the times when rows come slowly",
                setting="data.prefetch_steps",
                now=ahead,
                suggested=4 * ahead,
            ),
        )
    kept = observed.trained_with(job_id, "data", "cache_max_bytes")
    return (
        Change(
            text=(
                "rendering is slower than training: keeps rendered rows for the next pass over the file; the "
                "first pass is as fast as the disk, the profile and one core allow"
            ),
            setting="data.cache_max_bytes",
            now=kept,
            suggested=max(2 * kept, 2 * 1024**3),
        ),
    )
