"""Repeated rows: a large part of what is trained was there before."""

from daemon.diagnosis.findings import Change, Finding, Illness, Measure, Nothing, Result, TooLittle, series_of
from daemon.diagnosis.observations import Observations
from daemon.ledger.trained_files import TrainedContent
from trainer.protocol.data_report import DataReport
from trainer.protocol.text import shell_word

FILES = 50  # the newest
SHARE = 0.2  # of their rows: a few copies are in most data, and do little
LEAST_ROWS = 20
WITHIN_FILE, BEFORE = "repeated_rows", "trained_before"  # rules of a deep inspection


def find_repeated_rows(observed: Observations) -> Result:
    """Add up the rows that reports call copies, and those of files whose content was trained before."""
    files = [
        content
        for content in observed.contents[-FILES:]
        if content.was_trained_before or observed.report_on(content.job_id)
    ]
    rows = sum(content.rows for content in files)
    if not rows:
        return TooLittle(missing="there is no report on the rows of a trained file (data.validation)")
    repeated = {content.job_id: _repeated(observed, content) for content in files}
    total = sum(repeated.values())
    if total < max(LEAST_ROWS, SHARE * rows):
        return Nothing(read=f"the reports on {rows:,} rows of the newest files")
    worst = max(files, key=lambda content: repeated[content.job_id])
    return Finding(
        illness=Illness.REPEATED_ROWS,
        seen=(
            f"{total:,} of the {rows:,} rows of the newest files ({total / rows:.0%}) repeat others, most of "
            f"them in {worst.name}"
        ),
        evidence=(
            Measure(what="rows that repeat others", value=total, unit="rows"),
            Measure(what="their share", value=100 * total / rows, unit="percent"),
            Measure(what=f"of them in {worst.name}", value=repeated[worst.job_id], unit="rows"),
        ),
        series=series_of(
            "rows that repeat others, by file",
            "percent",
            [(content.last_step, 100 * repeated[content.job_id] / max(1, content.rows)) for content in files],
        ),
        costs=(
            f"about {total / rows:.0%} of the steps train what was trained already; the model memorizes it, "
            "and it counts for more than the rest"
        ),
        cost=Measure(what="share of the steps", value=100 * total / rows, unit="percent"),
        changes=tuple(_changes(observed, worst)),
    )


def _repeated(observed: Observations, content: TrainedContent) -> int:
    if content.was_trained_before:
        return content.rows
    report = observed.report_on(content.job_id)
    if report is None:
        return 0
    within = max(report.duplicate_rows, _rows_of(report, WITHIN_FILE))
    return min(content.rows, within + _rows_of(report, BEFORE))


def _rows_of(report: DataReport, rule: str) -> int:
    return sum(finding.rows for finding in report.findings if finding.rule == rule)


def _changes(observed: Observations, worst: TrainedContent) -> list[Change]:
    deep = Change(
        text="finds rows that are nearly the same, and those of earlier files",
        setting="data.validation",
        now=observed.settings.data.validation,
        suggested="deep",
    )
    if worst.was_trained_before:
        changes = [
            Change(
                text="the same content was trained before; shows what it has brought",
                command=f"training_data value {shell_word(worst.name)}",
            )
        ]
    else:
        kept = f"queue/recently_completed/{worst.name}"
        changes = [
            Change(
                text="writes such a file without its copies, before it is added",
                command=f"training_data dedupe {shell_word(kept)} without_copies.jsonl",
            )
        ]
    return changes if observed.settings.data.validation == "deep" else [*changes, deep]
