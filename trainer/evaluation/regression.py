"""Whether the model has become worse, by the losses and answers of the same rows before and after. Pure.

A mean alone cannot tell: it moves with every file. So a rise has to be large (which rules out what many good
files do) and certain (which rules out that a few rows have done it).
"""

import math
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from trainer.config.gate_settings import GateSettings
from trainer.protocol.gate import GateOutcome, LossComparison, SuiteComparison
from trainer.protocol.manifest import WhichWeights

WORST = 1e4  # stands for a loss that is no finite number
MOST_T = 1e6  # stands for infinity, which JSON lacks
DIGITS = 6  # of a loss; it is written down, and must be the same when it is read
WITH = {None: "", "average": "with the averaged weights, ", "last": "with the last weights, "}


class Measured(BaseModel):
    """Losses and answers of the frozen rows at one step."""

    model_config = ConfigDict(frozen=True)

    rows_id: str
    """A hash of the rows as the model sees them, and whether these are the averaged weights: only what is
    equal in it can be compared."""
    global_step: int
    losses: tuple[float, ...]
    """Of each row, the mean over its tokens."""
    answers: dict[str, tuple[bool, ...]] = {}
    """By suite: whether each question is answered."""
    last: "Measured | None" = None
    """The same of the weights after the last step, if this is of the averaged ones."""

    @property
    def by_weights(self) -> tuple[tuple[WhichWeights | None, "Measured"], ...]:
        """All that was measured, each with its name if there is more than one."""
        return (("average", self), ("last", self.last)) if self.last else ((None, self),)

    @property
    def mean(self) -> float:
        return sum(self.losses) / len(self.losses) if self.losses else 0.0

    @property
    def num_rows(self) -> int:
        """All that had to be measured."""
        own = len(self.losses) + sum(map(len, self.answers.values()))
        return own + (self.last.num_rows if self.last else 0)


def storable(loss: float) -> float:
    """Return a loss as it is kept."""
    return round(min(loss, WORST), DIGITS) if math.isfinite(loss) else WORST


def paired_t(before: Sequence[float], after: Sequence[float]) -> float:
    """Return t of the paired t-test: the mean difference divided by its standard error.

    t = d̄ / (s_d / √n), s_d² = Σ(d - d̄)² / (n - 1) ("Student" 1908, The Probable Error of a Mean).
    """
    differences = [late - early for early, late in zip(before, after, strict=True)]
    number = len(differences)
    if number < 2:
        return 0.0
    mean = math.fsum(differences) / number
    variance = math.fsum((value - mean) ** 2 for value in differences) / (number - 1)
    if variance == 0:
        return math.copysign(MOST_T, mean) if mean else 0.0
    return max(-MOST_T, min(MOST_T, mean / math.sqrt(variance / number)))


def mcnemar_p(lost: int, gained: int) -> float:
    """Return p of McNemar's exact test, two-sided.

    Under the null hypothesis each of the n = lost + gained questions that changed was as likely to be lost as
    gained: p = min(1, 2 · Σ_{i ≤ min(lost, gained)} C(n, i) / 2ⁿ) (McNemar 1947; Fagerland et al. 2013).
    """
    number = lost + gained
    tail = sum(math.comb(number, i) for i in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / (1 << number))


def compare(
    before: Measured,
    after: Measured,
    passed: Sequence[Measured],
    rules: GateSettings,
    *,
    since: int = 0,
    average_since: int = 0,
) -> tuple[tuple[LossComparison, ...], tuple[SuiteComparison, ...]]:
    """Return what is to be said of the weights that were measured both times; nothing if there are none.

    Args:
        passed: earlier states, oldest first; of those from step `since` on, the best is compared, too.
        average_since: the first step of which the average is compared with anything.
    """
    losses: list[LossComparison] = []
    suites: list[SuiteComparison] = []
    earlier = {item.rows_id: item for _, item in before.by_weights}
    for weights, late in after.by_weights:
        first = average_since if weights == "average" else since
        early = earlier.get(late.rows_id)
        if early is None or early.global_step < first:
            continue
        losses.append(compare_losses(early, late, weights))
        best = best_of(passed, late, rules, since=first)
        if best and best.global_step != early.global_step:
            losses.append(compare_losses(best, late, weights, is_best=True))
        suites += compare_answers(early, late, weights)
    return tuple(losses), tuple(suites)


def compare_losses(
    before: Measured, after: Measured, weights: WhichWeights | None = None, *, is_best: bool = False
) -> LossComparison:
    """Return what the losses of the same rows say."""
    return LossComparison(
        against="best" if is_best else "before",
        global_step=before.global_step,
        rows=len(after.losses),
        loss_before=round(before.mean, DIGITS),
        loss_after=round(after.mean, DIGITS),
        t=round(paired_t(before.losses, after.losses), 3),
        weights=weights,
    )


def compare_answers(
    before: Measured, after: Measured, weights: WhichWeights | None = None
) -> tuple[SuiteComparison, ...]:
    """Return what the answers to the same questions say, by suite."""
    return tuple(
        _compare_suite(name, before.answers[name], answers, weights)
        for name, answers in after.answers.items()
    )


def _compare_suite(
    name: str, before: Sequence[bool], after: Sequence[bool], weights: WhichWeights | None
) -> SuiteComparison:
    pairs = list(zip(before, after, strict=True))
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    return SuiteComparison(
        suite=name,
        rows=len(pairs),
        right_before=sum(before),
        right_after=sum(after),
        lost=lost,
        gained=gained,
        p=mcnemar_p(lost, gained),
        weights=weights,
    )


def objections(
    losses: Iterable[LossComparison], suites: Iterable[SuiteComparison], rules: GateSettings
) -> list[str]:
    """Return why the files must be taken back, in words; nothing if they need not."""
    found = [_worse_loss(item, rules) for item in losses if _is_worse(item, rules)]
    return found + [_worse_suite(item, rules) for item in suites if _has_dropped(item, rules)]


def _is_worse(found: LossComparison, rules: GateSettings) -> bool:
    is_large = found.increase >= rules.max_loss_increase
    return is_large and found.t >= rules.min_t and found.rows >= rules.min_rows


def _has_dropped(found: SuiteComparison, rules: GateSettings) -> bool:
    return found.drop >= rules.max_suite_drop and found.p < rules.suite_p


def _worse_loss(found: LossComparison, rules: GateSettings) -> str:
    since = f" since step {found.global_step}, the best of late" if found.against == "best" else ""
    return f"{in_words(found)}{since}; expected a rise below {rules.max_loss_increase:.0%}"


def _worse_suite(found: SuiteComparison, rules: GateSettings) -> str:
    return (
        f"{WITH[found.weights]}the suite {found.suite} dropped by {found.drop:.1f} points, "
        f"from {found.right_before} to {found.right_after} right answers of {found.rows} ({found.lost} lost, "
        f"{found.gained} gained, McNemar p {found.p:.2g}); expected a drop below {rules.max_suite_drop:g}"
    )


def in_words(found: LossComparison) -> str:
    """Return a comparison for a person."""
    return (
        f"{WITH[found.weights]}the mean loss of {found.rows} validation rows went from "
        f"{found.loss_before:.4f} to {found.loss_after:.4f} ({found.increase:+.1%}, paired t {found.t:.1f})"
    )


def verdict_of(objected: Sequence[str], *, is_admitted: bool) -> GateOutcome:
    """Return what follows from the objections."""
    if not objected:
        return "passed"
    return "admitted" if is_admitted else "refused"


def best_of(
    measured: Sequence[Measured], like: Measured, rules: GateSettings, *, since: int = 0
) -> Measured | None:
    """Return the best of the last comparisons with the same rows and weights; None without any.

    Args:
        since: the first step whose state counts.
    """
    window = measured[-rules.window :] if rules.window else ()
    comparable = [
        item
        for state in window
        for _, item in state.by_weights
        if item.rows_id == like.rows_id and item.global_step >= since
    ]
    return min(comparable, key=lambda item: item.mean, default=None)


def group_limit(num_measured: int, rules: GateSettings, *, max_overhead_percent: float) -> int:
    """Return how many rows of small files are judged together.

    Measuring a row takes a forward pass, and training it about three times as much. So measuring V rows after
    every G trained ones takes V / (V + 3 G) of the time, which is to be the limit. What is decided depends on
    no clock: after a crash the same files must be judged together.
    """
    if rules.group_rows is not None:
        return rules.group_rows
    share = max_overhead_percent / 100
    return max(1, math.ceil(num_measured * (1 - share) / (3 * share)))
