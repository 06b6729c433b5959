"""Inspect the rows of a file before it is trained: which do not fit among the others?"""

from collections.abc import Iterator, Sequence
from statistics import median

from trainer.config.schema import Settings
from trainer.data.reading.rows import BadRow
from trainer.data.rendering.render import RowExamples, learnable
from trainer.data.rendering.source import ExampleSource
from trainer.evaluation.outliers import outliers, rows_to_inspect
from trainer.evaluation.regression import Measured
from trainer.evaluation.scheduling import EvaluationSchedule
from trainer.evaluation.validation import fixed_subset
from trainer.pipeline.example_pipeline import ExamplePipeline
from trainer.protocol.data_report import OUTLIERS, Finding
from trainer.session.open_job import OpenJob

ROWS_AT_ONCE = 256
LINES_KEPT = 1_000  # of a finding
LINES_NAMED = 20


class RowCheck:
    """Finds the outliers of a session's files, by what the model makes of their rows before training."""

    def __init__(self, evaluations: EvaluationSchedule, pipeline: ExamplePipeline) -> None:
        self._evaluations = evaluations
        self._pipeline = pipeline

    def find(self, opened: OpenJob, usual: Measured | None) -> tuple[Finding, ...]:
        """Return what was found in a file's rows; nothing where all fit, or nobody wants to know.

        Args:
            usual: of the validation rows, under this model; None without a gate.
        """
        settings, rules = opened.settings, opened.settings.gate
        if usual is None or not rules.outlier_rows:
            return ()
        wanted = rows_to_inspect(
            len(opened.rows),
            at_least=rules.outlier_rows,
            epochs=settings.training.epochs,
            max_overhead_percent=settings.monitoring.max_overhead_percent,
        )
        losses: dict[int, float] = {}
        positions = fixed_subset(len(opened.rows), wanted)
        for first in range(0, len(positions), ROWS_AT_ONCE):
            some = positions[first : first + ROWS_AT_ONCE]
            losses |= self._losses(opened.source, some, settings)
        found = outliers(losses, usual=usual.losses, min_score=rules.outlier_score)
        return (finding_of(found, losses, settings),) if found else ()

    def _losses(
        self, source: ExampleSource, positions: Sequence[int], settings: Settings
    ) -> dict[int, float]:
        rows = {line: learnable([examples]) for line, examples in self._examples(source, positions)}
        measured = self._evaluations.inspect_rows(
            [row for of_row in rows.values() for row in of_row], settings
        )
        found = {}
        parts = iter(measured)
        for line, of_row in rows.items():
            mine = [part for _, part in zip(of_row, parts, strict=False)]
            if tokens := sum(part.tokens for part in mine):
                found[line] = sum(part.total for part in mine) / tokens
        return found

    def _examples(self, source: ExampleSource, positions: Sequence[int]) -> Iterator[tuple[int, RowExamples]]:
        try:
            yield from self._pipeline.executor.submit(source.examples_at, positions).result().items()
        except BadRow:  # which training will come upon, and say so
            if len(positions) > 1:
                for position in positions:
                    yield from self._examples(source, [position])


def finding_of(found: dict[int, float], losses: dict[int, float], settings: Settings) -> Finding:
    """Return a finding for a file's report.

    Args:
        found: the outliers, by line.
        losses: of all rows that were inspected.
    """
    limit, share = settings.gate.max_outlier_fraction, len(found) / len(losses)
    named = ", ".join(map(str, list(found)[:LINES_NAMED])) + (", …" if len(found) > LINES_NAMED else "")
    lines = "line" if len(found) == 1 else "lines"
    message = (
        f"{len(found)} of {len(losses)} rows ({share:.3g}, gate.max_outlier_fraction is {limit:g}) do not "
        f"fit among the others: before training, the loss of each is at least {min(found.values()):.2f}, and "
        f"that of half of all rows below {median(losses.values()):.2f}; {lines} {named}"
    )
    return Finding(
        rule=OUTLIERS,
        level="block" if share > limit else "note",
        message=message,
        rows=len(found),
        share=share,
        limit=limit,
        lines=tuple(found)[:LINES_KEPT],
    )
