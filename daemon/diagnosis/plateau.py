"""Plateau: the loss stands still, and there is evidence that it stands above its floor."""

from collections.abc import Sequence

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations, Stretch
from daemon.diagnosis.robust import block_medians, median, median_error, noise, slope
from trainer.protocol.text import shell_word

LEAST_STEPS = 200
PASSES = 3  # the same rows must have been trained so often: two more passes brought nothing
STILL = 0.01  # of the loss: less is no improvement
MEMORIZED = 0.1  # nats per token, 90 % for each right token: rows cannot be known much better
LEAST_STEPS_AT_HIGH_LOSS = 500  # that the loss stands still
STILL_AT_HIGH_LOSS = 0.05  # of the loss, its noise included
HIGH = 3.5
"""Nats per token. GPT-2 with 124 million weights has 3.4 on WikiText-2, per word, untrained for it (Radford
and others, "Language Models are Unsupervised Multitask Learners", 2019, table 3: a perplexity of 29.41);
answers to questions are easier than articles."""
BLOCKS = 10
ERRORS = 3.0  # standard errors
CLIPPED = 0.8  # of the steps: then the gradient is mostly noise, or too long
NATS = "nats per token"


def find_plateau(observed: Observations) -> Result:
    """Test whether the newest long file stands still although it could go on.

    That a loss is flat says nothing: it may be at its floor, which is unknown for rows that are seen once.
    Two things tell the difference. Rows that were passed over several times can be memorized, so their loss
    has no floor above zero: each pass is compared with the same rows two passes before. And a loss above
    what any model has on plain text is not that of a model that has learned to write.
    """
    stretch = observed.newest_stretch(LEAST_STEPS)
    if stretch is None:
        return TooLittle(missing=f"no file has {LEAST_STEPS} steps in a row")
    passes = _passes(observed, stretch)
    if len(passes) >= PASSES:
        earlier, newest = passes[-PASSES], passes[-1]
        if newest > MEMORIZED and newest > (1 - STILL) * earlier:
            return _of_passes(observed, stretch, passes)
    half = stretch.losses[len(stretch.losses) // 2 :]
    if len(half) >= LEAST_STEPS_AT_HIGH_LOSS and median(half) > HIGH and _is_still(half):
        return _of_high_loss(observed, stretch, half)
    return Nothing(read=f"{len(stretch.steps):,} steps of {stretch.name}")


def _passes(observed: Observations, stretch: Stretch) -> list[float]:
    """Return the mean loss of each whole pass over a file, weighted as training does: by supervised tokens.

    Means, because they are over the same rows each time: an odd row is odd in all of them.
    """
    content = observed.content_of(stretch.job_id)
    if content is None or not content.rows or stretch.steps[0].file_step != 1:
        return []
    sums: list[tuple[float, int]] = []
    rows = 0
    for step, loss in zip(stretch.steps, stretch.losses, strict=True):
        number = rows // content.rows
        if number == len(sums):
            sums.append((0.0, 0))
        total, tokens = sums[number]
        sums[number] = (total + loss * step.supervised_tokens, tokens + step.supervised_tokens)
        rows += step.rows
    whole = sums[: rows // content.rows]
    return [total / tokens for total, tokens in whole if tokens]


def _is_still(losses: Sequence[float]) -> bool:
    """Whether losses have certainly not changed by more than a little, however noisy they are.

    The slope of 10 blocks, times the 9 steps between them, has about the error of one block: that of a slope
    is sigma / sqrt(sum of (x - mean of x)^2), which is sigma / 9.1 here.
    """
    blocks = block_medians(losses, BLOCKS)
    change = slope(blocks) * (BLOCKS - 1)
    error = median_error(noise(losses), len(losses) // BLOCKS)
    return abs(change) + ERRORS * error < STILL_AT_HIGH_LOSS * median(blocks)


def _of_passes(observed: Observations, stretch: Stretch, passes: Sequence[float]) -> Finding:
    still = next(
        number for number in range(1, len(passes) + 1) if passes[-1] > (1 - STILL) * passes[number - 1]
    )
    wasted = len(passes) - still
    steps = len(stretch.steps) * wasted // len(passes)
    epochs = observed.trained_with(stretch.job_id, "training", "epochs")
    fewer = Change(
        text="ends the file when its passes bring nothing any more",
        setting="training.epochs",
        now=epochs,
        suggested=still,
    )
    return Finding(
        illness=Illness.PLATEAU,
        seen=(
            f"{wasted} more passes over {stretch.name} have not made it better known: its loss was "
            f"{passes[still - 1]:.3g} in pass {still} and is {passes[-1]:.3g} in pass {len(passes)}"
        ),
        evidence=(
            Measure(what=f"loss in pass {still}", value=passes[still - 1], unit=NATS),
            Measure(what=f"loss in pass {len(passes)}", value=passes[-1], unit=NATS),
        ),
        series=series_of("training loss", NATS, _points(stretch)),
        costs=f"{steps:,} steps brought nothing",
        cost=Measure(what="steps without improvement", value=steps, unit="steps"),
        changes=(_other_rate(observed, stretch), fewer),
    )


def _of_high_loss(observed: Observations, stretch: Stretch, half: Sequence[float]) -> Finding:
    level = median(half)
    return Finding(
        illness=Illness.PLATEAU,
        seen=(
            f"the loss of {stretch.name} stands still at {level:.3g} for {len(half):,} steps, which is above "
            "that of a model that has learned to write"
        ),
        evidence=(
            Measure(what="loss", value=level, unit=NATS),
            Measure(what="loss that plain text should have at most", value=HIGH, unit=NATS),
            Measure(what="steps that it stands still", value=len(half), unit="steps"),
        ),
        series=series_of("training loss", NATS, _points(stretch)),
        costs=f"{len(half):,} steps brought nothing",
        cost=Measure(what="steps without improvement", value=len(half), unit="steps"),
        changes=(
            _other_rate(observed, stretch),
            Change(
                text="shows the tokens of a row, and which are supervised",
                command=f"training_data show {shell_word(stretch.name)} --row 1",
            ),
        ),
    )


def _other_rate(observed: Observations, stretch: Stretch) -> Change:
    """Return a rate to try: a lower one if the gradient is nearly always clipped, otherwise a higher one."""
    rate = max(step.learning_rate for step in stretch.steps)
    limit = float(observed.trained_with(stretch.job_id, "training", "max_grad_norm"))
    norms = [step.grad_norm for step in stretch.steps if step.grad_norm is not None]
    is_clipped = limit and norms and sum(norm > limit for norm in norms) > CLIPPED * len(norms)
    suggested = rate / 3 if is_clipped else min(3 * rate, 0.5)
    return Change(
        text=(
            "the gradient is nearly always clipped, so shorter steps may come further"
            if is_clipped
            else "longer steps may leave the place where it stands"
        ),
        setting="training.learning_rate",
        now=rate,
        suggested=float(f"{suggested:.2g}"),
    )


def _points(stretch: Stretch) -> list[tuple[int, float]]:
    return [(step.global_step, loss) for step, loss in zip(stretch.steps, stretch.losses, strict=True)]
