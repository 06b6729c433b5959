"""What the model's answers show: that they become short, or think where the data does not, or reverse."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations
from daemon.diagnosis.robust import median, noise, smoothed
from trainer.protocol.data_report import THINK_TAGS
from trainer.protocol.messages import LENGTH_PERCENT
from trainer.protocol.text import shell_word

THINK_TAG_PERCENT = "think_tag_percent"  # of suites, as the profile `emoji_think` measures it
ROUNDS = 3  # that count as now: one may be odd
LEAST_ROUNDS = 2 * ROUNDS
LEAST_ANSWERS = 5  # of a round

# ---- short

SHORT = 70.0  # percent of the expected answers: some rephrasing always shortens
SHRUNK = 0.7  # of the greatest length so far
SIGMAS = 4.0  # of the noise from one round to the next
CUT = 0.5  # of the answers
UNCUT_PERCENT = 90.0  # an answer of that length lacks no more than a word

# ---- think tags

LEAST_TOTAL = 15  # answers of the newest rounds
FAR = 25.0  # points of percent between answers and data
DRIFTED = 20.0  # points further away than they once were
ERRORS = 4.0  # standard errors of a share
LEAST_SHARE = 0.05  # for that error, which would be none where all answers agree


@dataclass(frozen=True)
class Round:
    """Answers that were given at one step."""

    step: int
    number: int
    value: float
    """In percent."""
    cut: float = 0.0
    """Share of answers that ended because they had all tokens they may have."""


# ---- short answers


def find_short_answers(observed: Observations) -> Result:
    """Compare the lengths of answers with those of the expected ones, round by round.

    Only that they have become shorter counts: a model may have its own way of saying things.
    """
    sources = {name: rounds for name, rounds in _lengths(observed) if len(rounds) >= LEAST_ROUNDS}
    if not sources:
        return TooLittle(
            missing=(
                f"no {LEAST_ROUNDS} rounds of {LEAST_ANSWERS} answers whose length can be compared "
                "(previews.file or validation.suites)"
            )
        )
    for name, rounds in sources.items():
        if _is_shrunk(rounds):
            return _shrunk(observed, name, rounds)
        if _part_cut(rounds) >= CUT and _level(rounds[-ROUNDS:]) < UNCUT_PERCENT:
            return _cut(observed, name, rounds)
    return Nothing(read=f"the lengths of answers in {sum(map(len, sources.values())):,} rounds")


def _lengths(observed: Observations) -> Iterator[tuple[str, list[Round]]]:
    rounds = []
    for step, group in groupby(observed.answers, key=lambda answer: answer.global_step):
        known = [answer for answer in group if LENGTH_PERCENT in answer.metrics]
        if len(known) >= LEAST_ANSWERS:
            rounds.append(
                Round(
                    step=step,
                    number=len(known),
                    value=median([answer.metrics[LENGTH_PERCENT] for answer in known]),
                    cut=sum(answer.ended_by == "tokens" for answer in known) / len(known),
                )
            )
    yield "previews", rounds
    yield from _of_suites(observed, LENGTH_PERCENT)


def _of_suites(observed: Observations, metric: str) -> Iterator[tuple[str, list[Round]]]:
    by_suite: dict[str, list[Round]] = {}
    for score in observed.scores:
        if metric in score.metrics and score.rows >= LEAST_ANSWERS:
            by_suite.setdefault(score.suite, []).append(
                Round(step=score.global_step, number=score.rows, value=score.metrics[metric])
            )
    for suite, rounds in by_suite.items():
        yield f"suite {suite}", rounds


def _level(rounds: Sequence[Round]) -> float:
    return median([found.value for found in rounds])


def _part_cut(rounds: Sequence[Round]) -> float:
    return median([found.cut for found in rounds[-ROUNDS:]])


def _longest(rounds: Sequence[Round]) -> float:
    return min(100.0, max(smoothed([found.value for found in rounds])[1:-1]))


def _is_shrunk(rounds: Sequence[Round]) -> bool:
    now, longest = _level(rounds[-ROUNDS:]), _longest(rounds)
    sigma = noise([found.value for found in rounds])
    return (
        all(found.value < SHORT for found in rounds[-ROUNDS:])
        and now < SHRUNK * longest
        and longest - now > SIGMAS * sigma
    )


def _shrunk(observed: Observations, name: str, rounds: Sequence[Round]) -> Finding:
    now, longest = _level(rounds[-ROUNDS:]), _longest(rounds)
    newest = observed.contents[-1].name if observed.contents else "NAME"
    return _short(
        name,
        rounds,
        seen=(
            f"the answers to {name} have shrunk to {now:.0f} % of the expected length, from {longest:.0f} %"
        ),
        now=now,
        changes=(
            Change(
                text="shows how long the answers of the newest file are, and whether its rows are cut",
                command=f"training_data report {shell_word(newest)}",
            ),
            Change(
                text="mixes rows of earlier files, with their longer answers, into each step",
                setting="training.replay_fraction",
                now=observed.settings.training.replay_fraction,
                suggested=max(0.2, observed.settings.training.replay_fraction),
            ),
        ),
    )


def _cut(observed: Observations, name: str, rounds: Sequence[Round]) -> Finding:
    now, most = _level(rounds[-ROUNDS:]), observed.settings.previews.max_new_tokens
    return _short(
        name,
        rounds,
        seen=(
            f"most answers to {name} are cut after {most:,} tokens, at {now:.0f} % of the expected length, "
            "so what is measured of them is not what the model would say"
        ),
        now=now,
        changes=(
            Change(
                text="lets answers end by themselves",
                setting="previews.max_new_tokens",
                now=most,
                suggested=math.ceil(most * 1.5 * 100 / max(now, 10.0)),
            ),
        ),
    )


def _short(
    name: str, rounds: Sequence[Round], *, seen: str, now: float, changes: tuple[Change, ...]
) -> Finding:
    return Finding(
        illness=Illness.SHORT_ANSWERS,
        seen=seen,
        evidence=(
            Measure(what="length of the answers", value=now, unit="percent of the expected"),
            Measure(what="answers cut", value=100 * _part_cut(rounds), unit="percent"),
        ),
        series=series_of(
            f"length of the answers to {name}",
            "percent of the expected",
            [(found.step, found.value) for found in rounds],
        ),
        costs=f"about {100 - now:.0f} % of what an answer should say is missing",
        cost=Measure(what="missing of the answers", value=100 - now, unit="percent"),
        changes=changes,
    )


# ---- think tags


def find_think_tag_drift(observed: Observations) -> Result:
    """Compare the share of answers that think with that of the trained rows, now and when it was closest.

    Drift is a movement away from the data: a model that has not come there yet is young, not ill.
    """
    data = _share_of_data(observed)
    if data is None:
        return TooLittle(missing="no report says how many rows of the trained files think")
    sources = {name: rounds for name, rounds in _thinking(observed) if len(rounds) >= LEAST_ROUNDS}
    if not sources:
        return TooLittle(
            missing=f"no {LEAST_ROUNDS} rounds of {LEAST_ANSWERS} answers (previews.prompts or previews.file)"
        )
    for name, rounds in sources.items():
        if _has_drifted(rounds, data):
            return _drift(observed, name, rounds, data)
    return Nothing(read=f"the answers in {sum(map(len, sources.values())):,} rounds")


def _share_of_data(observed: Observations) -> float | None:
    """Return the percentage of the rows of the trained files that think; None if no report says it."""
    known = [
        (content.rows, report.think_tag_percent)
        for content in observed.contents
        if (report := observed.report_on(content.job_id)) and report.think_tag_percent is not None
    ]
    rows = sum(number for number, _ in known)
    return sum(number * percent for number, percent in known) / rows if rows else None


def _thinking(observed: Observations) -> Iterator[tuple[str, list[Round]]]:
    rounds = []
    for step, group in groupby(observed.answers, key=lambda answer: answer.global_step):
        thinks = [any(tag in answer.text for tag in THINK_TAGS) for answer in group]
        if len(thinks) >= LEAST_ANSWERS:
            rounds.append(Round(step=step, number=len(thinks), value=100 * sum(thinks) / len(thinks)))
    yield "previews", rounds
    yield from _of_suites(observed, THINK_TAG_PERCENT)


def _pooled(rounds: Sequence[Round]) -> float:
    return sum(found.value * found.number for found in rounds) / sum(found.number for found in rounds)


def _has_drifted(rounds: Sequence[Round], data: float) -> bool:
    newest = rounds[-ROUNDS:]
    number = sum(found.number for found in newest)
    gap = abs(_pooled(newest) - data)
    share = min(1 - LEAST_SHARE, max(LEAST_SHARE, data / 100))
    error = 100 * math.sqrt(share * (1 - share) / number)
    return (
        number >= LEAST_TOTAL
        and gap > max(FAR, ERRORS * error)
        and gap - abs(_closest(rounds, data) - data) > DRIFTED
    )


def _closest(rounds: Sequence[Round], data: float) -> float:
    """Return the percentage of those rounds in a row that came closest to the data."""
    earlier = [_pooled(rounds[first : first + ROUNDS]) for first in range(len(rounds) - ROUNDS)]
    return min(earlier, key=lambda percent: abs(percent - data))


def _drift(observed: Observations, name: str, rounds: Sequence[Round], data: float) -> Finding:
    now, closest = _pooled(rounds[-ROUNDS:]), _closest(rounds, data)
    replayed = observed.settings.training.replay_fraction
    newest = observed.contents[-1].name
    return Finding(
        illness=Illness.THINK_TAG_DRIFT,
        seen=(
            f"{now:.0f} % of the answers to {name} have think tags, and {data:.0f} % of the trained rows; it "
            f"was {closest:.0f} % before"
        ),
        evidence=(
            Measure(what="answers with think tags", value=now, unit="percent"),
            Measure(what="the same when it was closest to the data", value=closest, unit="percent"),
            Measure(what="trained rows with think tags", value=data, unit="percent"),
        ),
        series=series_of(
            f"answers to {name} with think tags", "percent", [(found.step, found.value) for found in rounds]
        ),
        costs=f"{abs(now - data):.0f} of 100 answers begin otherwise than the data would have them",
        cost=Measure(what="distance from the data", value=abs(now - data), unit="percent"),
        changes=(
            Change(
                text="mixes rows of all recent files into each step, so that the newest do not decide alone",
                setting="training.replay_fraction",
                now=replayed,
                suggested=max(0.2, replayed),
            ),
            Change(
                text="shows how many rows of the newest file think",
                command=f"training_data report {shell_word(newest)}",
            ),
        ),
    )
