"""The settings of the gate."""

from typing import Annotated

from pydantic import Field

from trainer.config.section import Fraction, Positive, Section


class GateSettings(Section):
    """Taking back the files that make the model worse: see `docs/models/gate.md`.

    A change takes effect at the next job.
    """

    enabled: bool = False
    """Whether the model is compared, after each file or group of small files, with what it was before. If it
    is worse, it goes back, and the file fails. Needs a `validation.file`, whose rows are never trained."""

    max_loss_increase: Annotated[float, Field(gt=0)] = 0.15
    """How much the mean loss of these rows may rise: 0.15 means by 15 %. A smaller rise never takes anything
    back, however certain it is."""

    min_t: Annotated[float, Field(ge=0)] = 4.0
    """How certain a rise must be: the least t of a paired t-test over the rows."""

    min_rows: Annotated[int, Field(ge=2)] = 200
    """How many rows `validation.file` must have; fewer do not tell one file from another."""

    max_suite_drop: Annotated[float, Field(gt=0, le=100)] = 10.0
    """How many points (percent of its questions) a suite of `validation.suites` may drop. Whether a question
    is answered is decided without generating: each token of the answer must be the likeliest one."""

    suite_p: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """How certain such a drop must be: the largest p of McNemar's exact test over the questions."""

    window: Annotated[int, Field(ge=0)] = 10
    """The model is also compared with the best of so many earlier comparisons, so that it cannot become worse
    in small steps. 0 compares with the state before the file alone."""

    group_rows: Positive | None = None
    """Files are judged together until they have so many rows (times epochs); a larger one is judged alone. If
    a group is refused, each of its files is trained and judged again by itself. null derives a number by
    which the comparison keeps within `monitoring.max_overhead_percent`. 1 judges every file by itself."""

    outlier_rows: Annotated[int, Field(ge=0)] = 500
    """How many rows of a file are inspected one by one before it is trained, to find those that do not fit
    among the others. Of larger files, as many more as `monitoring.max_overhead_percent` allows. 0 turns it
    off."""

    outlier_score: Annotated[float, Field(gt=0)] = 3.5
    """From which robust z-score on (by median and MAD of the file's losses) a row is an outlier. Its loss
    must also be above that of 99 % of the rows of `validation.file`."""

    max_outlier_fraction: Fraction = 0.1
    """Maximum share of outliers. Above it, the file fails before its first step, unless you admit it:
    `training_queue retry NAME --admit`."""
